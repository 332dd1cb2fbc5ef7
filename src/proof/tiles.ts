import type {Pool, PoolClient} from 'pg'
import {type Hash, rootOf, type Subtree} from './merkleTree.ts'

/**
 * The hashes of the sealed events, kept beside the log and apart from it, so that they can say which event is no longer
 * what it was. A tile is 256 neighbouring hashes; the root over a full one is a hash of the level above. So a tree costs a
 * 256th more than its leaves, and a proof reads a few tiles however large the tree is.
 */
export const PROOF_DDL = `
CREATE SCHEMA IF NOT EXISTS proof;
CREATE TABLE IF NOT EXISTS proof.tiles (
  log uuid NOT NULL, level int NOT NULL, tile bigint NOT NULL, hashes bytea NOT NULL,
  PRIMARY KEY (log, level, tile)
);
CREATE TABLE IF NOT EXISTS proof.seals (
  log uuid NOT NULL, size bigint NOT NULL, seal json NOT NULL,
  -- Of the last sealed event, where the next seal reads on.
  adapter text NOT NULL, position bigint NOT NULL, event uuid NOT NULL,
  PRIMARY KEY (log, size)
);
`

const WIDTH = 256
const HASH_BYTES = 32
const TILES_AT_ONCE = 64

export type Db = Pick<Pool | PoolClient, 'query'>

/** The kept hashes are not all there. */
export class HashesMissing extends Error {
  override name = 'HashesMissing'
  constructor() {
    super('The hashes kept in schema proof are not all there.')
  }
}

const readTile = async (db: Db, log: string, level: number, tile: number): Promise<Buffer> => {
  const {rows} = await db.query<{hashes: Buffer}>(
    'SELECT hashes FROM proof.tiles WHERE log = $1 AND level = $2 AND tile = $3',
    [log, level, tile],
  )
  return rows[0]?.hashes ?? Buffer.alloc(0)
}

const hashesIn = (tile: Buffer, from: number, to: number): Hash[] => {
  if (tile.length < to * HASH_BYTES) throw new HashesMissing()
  const hashes: Hash[] = []
  for (let n = from; n < to; n++) hashes.push(tile.subarray(n * HASH_BYTES, (n + 1) * HASH_BYTES))
  return hashes
}

/** The kept tree of a log, to prove from. */
export const keptTree = (db: Db, log: string): Subtree => {
  const tiles = new Map<string, Promise<Buffer>>()
  return async (level, index) => {
    const height = level % 8
    const first = index * 2 ** height
    const at = [(level - height) / 8, Math.floor(first / WIDTH)] as const
    const tile = tiles.get(at.join()) ?? readTile(db, log, ...at)
    tiles.set(at.join(), tile)
    return rootOf(hashesIn(await tile, first % WIDTH, (first % WIDTH) + 2 ** height))
  }
}

/** The kept leaves from the first on. */
export const keptLeaves = async function* (db: Db, log: string, size: number): AsyncGenerator<Hash[]> {
  for (let tile = 0; tile * WIDTH < size; tile += TILES_AT_ONCE) {
    const {rows} = await db.query<{tile: string; hashes: Buffer}>(
      'SELECT tile, hashes FROM proof.tiles WHERE log = $1 AND level = 0 AND tile >= $2 AND tile < $3 ORDER BY tile',
      [log, tile, tile + TILES_AT_ONCE],
    )
    const count = Math.min(TILES_AT_ONCE, Math.ceil(size / WIDTH) - tile)
    for (let n = 0; n < count; n++) {
      const row = rows[n]
      if (Number(row?.tile) !== tile + n) throw new HashesMissing()
      yield hashesIn(row!.hashes, 0, Math.min(WIDTH, size - (tile + n) * WIDTH))
    }
  }
}

/** Adds leaves to a kept tree that has `size` of them; what comes after those is written over. */
export const growKeptTree = async (db: Db, log: string, size: number) => {
  let waiting: {level: number; tile: number; hashes: Buffer}[] = []
  const levels: {full: number; open: Hash[]}[] = []
  for (let level = 0, count = size; count > 0; level++, count = Math.floor(count / WIDTH)) {
    const full = Math.floor(count / WIDTH)
    const begun = count % WIDTH === 0 ? Buffer.alloc(0) : await readTile(db, log, level, full)
    levels.push({full, open: hashesIn(begun, 0, count % WIDTH)})
  }

  const write = async (): Promise<void> => {
    if (waiting.length === 0) return
    await db.query(
      `INSERT INTO proof.tiles (log, level, tile, hashes)
       SELECT $1, * FROM unnest($2::int[], $3::bigint[], $4::bytea[])
       ON CONFLICT (log, level, tile) DO UPDATE SET hashes = excluded.hashes`,
      [log, waiting.map(({level}) => level), waiting.map(({tile}) => tile), waiting.map(({hashes}) => hashes)],
    )
    waiting = []
  }

  const add = (hash: Hash, level = 0): void => {
    levels[level] ??= {full: 0, open: []}
    const {full, open} = levels[level]
    open.push(hash)
    if (open.length < WIDTH) return
    waiting.push({level, tile: full, hashes: Buffer.concat(open)})
    levels[level] = {full: full + 1, open: []}
    add(rootOf(open), level + 1)
  }

  return {
    add: (leaf: Hash): void => add(leaf),
    /** Writes the tiles that are full, where they are many. */
    writeFull: async (): Promise<void> => {
      if (waiting.length >= TILES_AT_ONCE) await write()
    },
    finish: async (): Promise<void> => {
      levels.forEach(({full, open}, level) => {
        if (open.length > 0) waiting.push({level, tile: full, hashes: Buffer.concat(open)})
      })
      await write()
    },
  }
}
