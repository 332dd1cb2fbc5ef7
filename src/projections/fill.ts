import type {Codec} from '../log/codec.ts'
import type {EventLog, LogRecord} from '../log/eventLog.ts'
import type {TailEvent} from '../log/tail.ts'
import {type Feeding, feed} from './feeding.ts'
import type {Generation} from './generations.ts'

/** Events read before they are written together: many a statement is what makes a rebuild fast; memory bounds them. */
const GATHER_EVENTS = 4_000

/** An event that the table has no handler for: it is not even opened, only its position counts. */
const passedOver = ({id, type, stream, revision, position}: LogRecord): TailEvent => {
  return {id, type, stream, revision, position, fault: 'the table does not need it'}
}

/**
 * Brings one generation from its position to where the log ended when this was last looked at. Stops at a fault, which
 * the generation then bears. `onProgress` is told the events that were applied and the position.
 */
export const fill = async (
  {log, codec}: {log: EventLog; codec: Codec},
  feeding: Feeding,
  generation: Generation,
  {signal, onProgress = () => {}}: {signal: AbortSignal; onProgress?: (events: number, position: bigint) => void},
): Promise<void> => {
  const isNeeded = ({type}: LogRecord) => type === 'UserErased' || generation.table.handlers[type] !== undefined
  let gathered: TailEvent[] = []
  let read = 0
  let written = Promise.resolve()
  const write = async () => {
    await written
    if (read === 0) return
    const [events, count] = [gathered, read]
    gathered = []
    read = 0
    written = feed(feeding, [generation], events).then(() => onProgress(count, events.at(-1)!.position))
    // It is awaited by the next write; until then nobody else may hear of it.
    written.catch(() => {})
  }
  try {
    for await (const records of log.readAll({after: generation.position})) {
      if (signal.aborted) return
      gathered.push(...(await codec.decode(records.filter(isNeeded))))
      const last = records.at(-1)!
      if (!isNeeded(last)) gathered.push(passedOver(last))
      read += records.length
      // PostgreSQL writes these while the next ones are read and opened.
      if (read >= GATHER_EVENTS) await write()
      if (generation.fault !== null) return
    }
    await write()
  } finally {
    await written
  }
}
