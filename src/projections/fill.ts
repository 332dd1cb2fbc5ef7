import type {Codec} from '../log/codec.ts'
import type {EventLog, LogRecord} from '../log/eventLog.ts'
import type {TailEvent} from '../log/tail.ts'
import {openBatch} from './batch.ts'
import {type Feeding, feed} from './feeding.ts'
import type {Generation} from './generations.ts'

/** Events that are written together: many a message is what makes a rebuild fast; memory bounds them. */
const BATCH_EVENTS = 512
/** Of large events fewer: what their rows come to. */
const BATCH_BYTES = 4 * 1024 * 1024

/** An event that no table has a handler for: it is not even opened, only its position counts. */
const passedOver = ({id, type, stream, revision, position}: LogRecord): TailEvent => {
  return {id, type, stream, revision, position, fault: 'no table needs it'}
}

type Source = {log: EventLog; codec: Codec}
type Options = {signal: AbortSignal; onProgress?: (events: number, position: bigint) => void}

/**
 * Brings generations, each from its own position, to where the log ended when this was last looked at, in one reading of
 * it. One that can't take an event bears the fault, and the others go on. `onProgress` is told the events that were read
 * and the position.
 */
export const fill = async (
  source: Source,
  feeding: Feeding,
  generations: readonly Generation[],
  options: Options,
): Promise<void> => {
  for (;;) {
    const going = generations.filter(({fault}) => fault === null)
    if (going.length === 0 || (await fillInBatches(source, feeding, going, options))) return
    await fillByStatements(source, feeding, going, options)
  }
}

/** False where a batch could not be written. */
const fillInBatches = async (
  source: Source,
  feeding: Feeding,
  going: readonly Generation[],
  {signal, onProgress = () => {}}: Options,
): Promise<boolean> => {
  let batch = openBatch(going)
  let read = 0
  let earlier = Promise.resolve(true)
  let written = earlier
  const writeBatch = async (position: bigint): Promise<boolean> => {
    const [full, count] = [batch, read]
    batch = openBatch(going)
    read = 0
    // One waits, so that neither PostgreSQL nor this process stands still until the other is done.
    if (!(await earlier)) return false
    earlier = written
    written = earlier.then(async (isGoing) => {
      const isWritten = isGoing && (await full.write(feeding))
      if (isWritten) onProgress(count, position)
      return isWritten
    })
    // It is awaited by a later write; until then nobody else may hear of it.
    written.catch(() => {})
    return true
  }
  try {
    let position = 0n
    for await (const page of opened(source, going)) {
      if (signal.aborted) return true
      await batch.add(page.events)
      read += page.read
      position = page.events.at(-1)!.position
      // PostgreSQL writes these while the next ones are read, opened and folded.
      const isFull = read >= BATCH_EVENTS || batch.bytes() >= BATCH_BYTES
      if (isFull && !(await writeBatch(position))) return false
    }
    if (read > 0 && !(await writeBatch(position))) return false
    return await written
  } finally {
    await written
  }
}

/** Past what a batch could not hold: a row is put in the place of another, or the event is found that can't be taken. */
const fillByStatements = async (
  source: Source,
  feeding: Feeding,
  going: readonly Generation[],
  {signal, onProgress = () => {}}: Options,
): Promise<void> => {
  for await (const {events, read} of opened(source, going, BATCH_EVENTS)) {
    if (signal.aborted) return
    await feed(feeding, going, events)
    onProgress(read, events.at(-1)!.position)
  }
}

/** The log from where the first of these generations is. What no table needs is not even opened. */
async function* opened(
  {log, codec}: Source,
  going: readonly Generation[],
  limit = Number.POSITIVE_INFINITY,
): AsyncGenerator<{events: TailEvent[]; read: number}> {
  const isNeeded = ({type}: LogRecord) =>
    type === 'UserErased' || going.some(({table}) => table.handlers[type] !== undefined)
  for await (const records of ahead(log.readAll({after: lowest(going), limit}))) {
    const events: TailEvent[] = await codec.decode(records.filter(isNeeded))
    const last = records.at(-1)!
    if (!isNeeded(last)) events.push(passedOver(last))
    yield {events, read: records.length}
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
