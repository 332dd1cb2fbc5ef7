import type {Codec} from '../log/codec.ts'
import type {EventLog, LogRecord} from '../log/eventLog.ts'
import type {TailEvent} from '../log/tail.ts'
import {type Feeding, foldPage, write} from './feeding.ts'
import type {Generation} from './generations.ts'

/** Events read before they are written together: many a statement is what makes a rebuild fast; memory bounds them. */
const GATHER_EVENTS = 1_000

/** An event that no table has a handler for: it is not even opened, only its position counts. */
const passedOver = ({id, type, stream, revision, position}: LogRecord): TailEvent => {
  return {id, type, stream, revision, position, fault: 'no table needs it'}
}

/**
 * Brings generations, each from its own position, to where the log ended when this was last looked at, in one reading of
 * it. One that can't take an event bears the fault, and the others go on. `onProgress` is told the events that were read
 * and the position.
 */
export const fill = async (
  {log, codec}: {log: EventLog; codec: Codec},
  feeding: Feeding,
  generations: readonly Generation[],
  {signal, onProgress = () => {}}: {signal: AbortSignal; onProgress?: (events: number, position: bigint) => void},
): Promise<void> => {
  const going = generations.filter(({fault}) => fault === null)
  if (going.length === 0) return
  const isNeeded = ({type}: LogRecord) =>
    type === 'UserErased' || going.some(({fault, table}) => fault === null && table.handlers[type] !== undefined)
  let gathered: TailEvent[] = []
  let read = 0
  let written = Promise.resolve()
  const writeGathered = async () => {
    if (read === 0) return
    const [events, count] = [gathered, read]
    gathered = []
    read = 0
    const folded = foldPage(going, events)
    await written
    written = write(feeding, folded).then(() => onProgress(count, events.at(-1)!.position))
    // It is awaited by the next write; until then nobody else may hear of it.
    written.catch(() => {})
  }
  try {
    for await (const records of ahead(log.readAll({after: lowest(going)}))) {
      if (signal.aborted) return
      gathered.push(...(await codec.decode(records.filter(isNeeded))))
      const last = records.at(-1)!
      if (!isNeeded(last)) gathered.push(passedOver(last))
      read += records.length
      // PostgreSQL writes these while the next ones are read, opened and folded.
      if (read >= GATHER_EVENTS) await writeGathered()
      if (going.every(({fault}) => fault !== null)) return
    }
    await writeGathered()
  } finally {
    await written
  }
}

/** Where to read on from so that none misses an event; null: from the beginning. */
const lowest = (generations: readonly Generation[]): bigint | null =>
  generations.reduce<bigint | null>(
    (low, {position}, index) => (index === 0 || (position ?? -1n) < (low ?? -1n) ? position : low),
    null,
  )

/** The same, the next one asked for while the last one is worked on. */
async function* ahead<T>(pages: AsyncIterable<T>): AsyncGenerator<T> {
  const iterator = pages[Symbol.asyncIterator]()
  let next = iterator.next()
  try {
    for (;;) {
      const {done, value} = await next
      if (done) return
      next = iterator.next()
      next.catch(() => {})
      yield value
    }
  } finally {
    await next.catch(() => {})
    await iterator.return?.()
  }
}
