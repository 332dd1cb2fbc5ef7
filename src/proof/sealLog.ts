import type {Pool, PoolClient} from 'pg'
import type {EventLog} from '../log/eventLog.ts'
import {leafOf} from './leaf.ts'
import {consistencyPath, growingRoot, isConsistent, rootOfRange} from './merkleTree.ts'
import {bytesOf, NotSealed, type Seal, signSeal, treeOf} from './seal.ts'
import type {SigningKey} from './signingKey.ts'
import {growKeptTree, HashesMissing, keptTree} from './tiles.ts'

type Last = {seal: Seal; adapter: string; position: string; event: string}

const readLast = async (db: Pick<Pool, 'query'>, identity: string): Promise<Last | null> => {
  const {rows} = await db.query<Last>(
    'SELECT seal, adapter, position, event FROM proof.seals WHERE log = $1 ORDER BY size DESC LIMIT 1',
    [identity],
  )
  return rows[0] ?? null
}

/** The last seal that was made here, as text: of this log, or where it has none (its identity was changed?) of another. */
export const lastSeal = async (pool: Pool, identity: string | null): Promise<string | null> => {
  const {rows} = await pool.query<{seal: string}>(
    `SELECT seal::text FROM proof.seals
     ORDER BY log IS NOT DISTINCT FROM $1::uuid DESC, size DESC, seal->>'time' DESC LIMIT 1`,
    [identity],
  )
  return rows[0]?.seal ?? null
}

const NOT_AS_SEALED =
  'The log does not hold what was sealed last: audit verify says where they differ. Nothing was sealed.'

/**
 * Seals all events up to the log's head: adds their leaves to the kept tree, and signs its root. Reads only what came
 * since the last seal, as long as that ended where the log still has the same event, and the kept hashes give its root;
 * else (a copied log, a restored one, lost hashes) the whole log, which must give the last seal's root on the way. One
 * seal at a time; a tree only ever grows.
 */
export const sealLog = async ({
  pool,
  log,
  identity,
  key,
  earlier,
}: {
  pool: Pool
  log: EventLog
  identity: string
  key: SigningKey
  earlier: Seal | null
}): Promise<Seal> => {
  const client = await pool.connect()
  try {
    await client.query('BEGIN')
    await client.query(`SET LOCAL idle_in_transaction_session_timeout = '60s'`)
    await client.query(`SELECT pg_advisory_xact_lock(hashtext('community seal'))`)
    const last = await readLast(client, identity)
    const head = (await log.head())!
    const end = (last && (await addNew(client, log, last, head))) ?? (await addAll(client, log, identity, last, head))
    const kept = keptTree(client, identity)
    const root = await rootOfRange(0, end.size, kept)
    const seal = signSeal(
      {
        identity,
        size: end.size,
        root: root.toString('hex'),
        time: new Date().toISOString(),
        ...(earlier && {extends: await extensionOf(earlier, {size: end.size, root}, kept)}),
      },
      key,
    )
    await client.query(
      `INSERT INTO proof.seals (log, size, seal, adapter, position, event) VALUES ($1, $2, $3, $4, $5, $6)
       ON CONFLICT (log, size) DO UPDATE SET seal = excluded.seal, adapter = excluded.adapter,
         position = excluded.position, event = excluded.event`,
      [identity, end.size, JSON.stringify(seal), log.adapter, end.position.toString(), end.event],
    )
    await client.query('COMMIT')
    client.release()
    return seal
  } catch (error) {
    client.release(true)
    throw error
  }
}

type End = {size: number; position: bigint; event: string}

/** Null where the last seal can't be gone on from. */
const addNew = async (client: PoolClient, log: EventLog, last: Last, head: bigint): Promise<End | null> => {
  const {size, root, identity} = last.seal
  if (last.adapter !== log.adapter) return null
  if ((await log.readAt(BigInt(last.position)))?.id !== last.event) return null
  try {
    if (!(await rootOfRange(0, size, keptTree(client, identity))).equals(bytesOf(root))) return null
    const from = {size, position: BigInt(last.position), event: last.event}
    return await addFrom(from, {client, log, identity, head})
  } catch (error) {
    if (error instanceof HashesMissing) return null
    throw error
  }
}

const addAll = async (client: PoolClient, log: EventLog, identity: string, last: Last | null, head: bigint) => {
  const beginning = {size: 0, position: null, event: ''}
  const end = await addFrom(beginning, {client, log, identity, head, until: last?.seal ?? null})
  return end as End
}

const addFrom = async <P extends bigint | null>(
  {size, position, event}: {size: number; position: P; event: string},
  {
    client,
    log,
    identity,
    head,
    until = null,
  }: {client: PoolClient; log: EventLog; identity: string; head: bigint; until?: Seal | null},
): Promise<{size: number; position: P | bigint; event: string}> => {
  const tree = await growKeptTree(client, identity, size)
  const growing = growingRoot()
  const end: {size: number; position: P | bigint; event: string} = {size, position, event}
  reading: for await (const page of log.readAll({after: position})) {
    for (const record of page) {
      // What comes while this reads is the next seal's.
      if (record.position > head) break reading
      const leaf = leafOf(record)
      tree.add(leaf)
      Object.assign(end, {size: end.size + 1, position: record.position, event: record.id})
      if (!until || end.size > until.size) continue
      growing.add(leaf)
      if (end.size === until.size && !growing.root().equals(bytesOf(until.root))) throw new NotSealed(NOT_AS_SEALED)
    }
    await tree.writeFull()
  }
  if (until && end.size < until.size) throw new NotSealed(NOT_AS_SEALED)
  await tree.finish()
  return end
}

const extensionOf = async (
  earlier: Seal,
  whole: {size: number; root: Buffer},
  kept: ReturnType<typeof keptTree>,
): Promise<NonNullable<Seal['extends']>> => {
  const {size, root} = earlier
  const path = size <= whole.size ? await consistencyPath(size, whole.size, kept) : []
  if (!isConsistent(treeOf(earlier), whole, path))
    throw new NotSealed(
      'The log does not begin with what the earlier seal is of: nothing extends it. Nothing was sealed.',
    )
  return {size, root, path: path.map((hash) => hash.toString('hex'))}
}
