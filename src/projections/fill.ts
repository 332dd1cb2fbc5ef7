import type {Codec} from '../log/codec.ts'
import type {EventLog} from '../log/eventLog.ts'
import type {TailEvent} from '../log/tail.ts'
import {type Feeding, feed} from './feeding.ts'
import type {Generation} from './generations.ts'

/** Events read before they are written together: many a statement is what makes a rebuild fast; memory bounds them. */
const GATHER_EVENTS = 4_000

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
  let gathered: TailEvent[] = []
  const write = async () => {
    if (gathered.length === 0) return
    await feed(feeding, [generation], gathered)
    onProgress(gathered.length, gathered.at(-1)!.position)
    gathered = []
  }
  for await (const records of log.readAll({after: generation.position})) {
    if (signal.aborted) return
    gathered.push(...(await codec.decode(records)))
    if (gathered.length >= GATHER_EVENTS) await write()
    if (generation.fault !== null) return
  }
  await write()
}
