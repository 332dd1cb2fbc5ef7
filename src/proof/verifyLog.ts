import type {Pool} from 'pg'
import type {EventLog, LogRecord} from '../log/eventLog.ts'
import {leafOrNone} from './leaf.ts'
import {growingRoot} from './merkleTree.ts'
import {bytesOf, type Seal} from './seal.ts'
import {HashesMissing, keptLeaves} from './tiles.ts'

/** `index` counts from 0 in the log's order. `event`: what is there now. */
export type Difference = {
  kind: 'changed' | 'removed' | 'inserted' | 'moved'
  index: number
  position: bigint | null
  event: Pick<LogRecord, 'id' | 'stream' | 'revision' | 'type'> | null
}

/** `differs`: the first difference, or null where the kept hashes can not tell it. `held`: events that were there to compare. */
export type Verified = {size: number; held: number; root: string; differs: null | {first: Difference | null}}

/** Makes the leaves afresh from the log and compares their root with the seal's. Reads the log once; where they differ, again. */
export const verifyLog = async ({
  pool,
  log,
  seal,
  onPage = () => {},
}: {
  pool: Pool
  log: EventLog
  seal: Seal
  /** How many events were read, and how many by now. */
  onPage?: (events: number, by: bigint) => void
}): Promise<Verified> => {
  const growing = growingRoot()
  for await (const page of log.readAll()) {
    for (const record of page.slice(0, seal.size - growing.size())) growing.add(leafOrNone(record))
    onPage(page.length, BigInt(growing.size()))
    if (growing.size() === seal.size) break
  }
  const held = growing.size()
  const root = growing.root()
  const isSame = held === seal.size && root.equals(bytesOf(seal.root))
  const differs = isSame ? null : {first: await firstDifference(pool, log, seal)}
  return {size: seal.size, held, root: root.toString('hex'), differs}
}

/** Only where the kept leaves still give the seal's root: else they say nothing. */
const firstDifference = async (pool: Pool, log: EventLog, seal: Seal): Promise<Difference | null> => {
  try {
    const growing = growingRoot()
    for await (const leaves of keptLeaves(pool, seal.identity, seal.size)) for (const leaf of leaves) growing.add(leaf)
    if (!growing.root().equals(bytesOf(seal.root))) return null
  } catch (error) {
    if (error instanceof HashesMissing) return null
    throw error
  }
  const kept = flat(keptLeaves(pool, seal.identity, seal.size))
  const held = flat(log.readAll())
  let before: bigint | null = null
  for (let index = 0; ; index++) {
    const {value: leaf} = await kept.next()
    // Every leaf had its event, though the first reading found one that had not: the log was changed meanwhile.
    if (!leaf) return null
    const {value: record} = await held.next()
    if (record && leafOrNone(record).equals(leaf)) {
      before = record.position
      continue
    }
    const found = record && leafOrNone(record)
    const isEarly = found !== undefined && (await some(kept, (later) => later.equals(found)))
    const isLate = await some(held, (later) => leafOrNone(later).equals(leaf))
    const kind = isEarly && isLate ? 'moved' : isEarly || !record ? 'removed' : isLate ? 'inserted' : 'changed'
    return {
      kind,
      index,
      // Those of the log in Postgres are dense, so there it is known also where nothing stands.
      position: log.adapter === 'postgres' ? BigInt(index + 1) : (record?.position ?? before),
      event: record ? {id: record.id, stream: record.stream, revision: record.revision, type: record.type} : null,
    }
  }
}

const flat = async function* <T>(pages: AsyncIterable<T[]>): AsyncGenerator<T, undefined> {
  for await (const page of pages) yield* page
}

const some = async <T>(items: AsyncIterable<T>, isIt: (item: T) => boolean): Promise<boolean> => {
  for await (const item of items) if (isIt(item)) return true
  return false
}
