import type {Pool} from 'pg'
import type {EventLog, LogRecord} from '../log/eventLog.ts'
import {leafOf} from './leaf.ts'
import {inclusionPath, rootByInclusion} from './merkleTree.ts'
import {bytesOf, NotSealed, type Seal} from './seal.ts'
import {keptTree} from './tiles.ts'

export type Proof = {record: LogRecord; index: number; leaf: string; path: string[]}

/** The path from an event to the seal's root; null where the log holds no such event. */
export const proveEvent = async ({
  pool,
  log,
  seal,
  event,
}: {
  pool: Pool
  log: EventLog
  seal: Seal
  event: {id: string} | {position: bigint}
}): Promise<Proof | null> => {
  const found = await find(log, event)
  if (!found) return null
  const {record, index} = found
  if (index >= seal.size)
    throw new NotSealed(
      `Event ${record.id} came after the seal, which is of the first ${seal.size} events: seal again.`,
    )
  const leaf = leafOf(record)
  const path = await inclusionPath(index, seal.size, keptTree(pool, seal.identity))
  if (!rootByInclusion(leaf, index, seal.size, path)?.equals(bytesOf(seal.root)))
    throw new NotSealed(
      `Event ${record.id} is not what was sealed, or the kept hashes are not: audit verify says which.`,
    )
  return {record, index, leaf: leaf.toString('hex'), path: path.map((hash) => hash.toString('hex'))}
}

/** Where an event is in the log's order only the log can tell, by being read up to it. */
const find = async (log: EventLog, event: {id: string} | {position: bigint}) => {
  let index = 0
  for await (const page of log.readAll()) {
    for (const record of page) {
      if ('id' in event ? record.id === event.id : record.position === event.position) return {record, index}
      index++
    }
    if ('position' in event && page.at(-1)!.position > event.position) return null
  }
  return null
}
