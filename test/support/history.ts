import {randomUUID} from 'node:crypto'
import {appendInOrder} from '../../src/log/appendInOrder.ts'
import type {EventLog, LogRecord} from '../../src/log/eventLog.ts'
import type {SealedRecord} from '../../src/proof/leaf.ts'

const STREAMS = 7

/** Events of several streams in turn, as a log holds them: `from` counts from 0. */
export const historyOf = (count: number, from = 0): SealedRecord[] =>
  Array.from({length: count}, (_, n) => ({
    stream: `s-${(from + n) % STREAMS}`,
    revision: Math.floor((from + n) / STREAMS),
    id: randomUUID(),
    type: 'Happened',
    data: {n: from + n, text: `ä\u2028 ${n}`},
    metadata: {time: new Date(1.7e12 + n).toISOString(), actor: null, command: 'test'},
  }))

/** So many at once as a log takes in its time on a busy machine. */
const AT_ONCE = 500

export const appendHistory = async (log: EventLog, count: number): Promise<void> => {
  const records = historyOf(count)
  for (let from = 0; from < count; from += AT_ONCE) await appendInOrder(log, records.slice(from, from + AT_ONCE))
}

export const recordsIn = async (log: EventLog): Promise<LogRecord[]> => {
  const all: LogRecord[] = []
  for await (const page of log.readAll()) all.push(...page)
  return all
}
