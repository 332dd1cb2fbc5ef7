import {randomUUID} from 'node:crypto'
import {HistoryBegan, type HistoryEvent} from '../domain/history.ts'
import {type Codec, isFaulty} from './codec.ts'
import type {EventLog} from './eventLog.ts'

const STREAM = 'history'
const NOT_OURS = 'The log does not begin as one of ours does: it belongs to another program, or lost its beginning'

/** The log was begun with other keys than this database holds: what it says of people could not be read. */
export class ForeignLog extends Error {
  override name = 'ForeignLog'
  constructor() {
    super(
      'The log was begun with keys that are not in this database: use the database that belongs to it, or restore its keys',
    )
  }
}

/** What the log's first event says, as it stands there; null where the log is empty. Needs no keys, checks none. */
export const readBeginning = async (log: EventLog): Promise<HistoryEvent['data'] | null> => {
  for await (const [record] of log.readAll({limit: 1})) {
    const data = HistoryBegan.data.safeParse(record?.data)
    if (record?.type !== 'HistoryBegan' || !data.success) throw new Error(NOT_OURS)
    return data.data
  }
  return null
}

export const readIdentity = async (log: EventLog): Promise<string | null> =>
  (await readBeginning(log))?.identity ?? null

/** The log's identity (a UUID), from its first event, which is written where the log is empty. Throws {@link ForeignLog}. */
export const openHistory = async ({
  log,
  codec,
  keyCheck,
  now = new Date(),
}: {
  log: EventLog
  codec: Codec
  keyCheck: string
  now?: Date
}): Promise<string> => {
  if ((await log.head()) === null) {
    const id = randomUUID()
    const event = {type: 'HistoryBegan' as const, data: {identity: randomUUID(), keyCheck}}
    const metadata = {
      time: now.toISOString(),
      actor: null,
      command: 'openHistory',
      correlationId: id,
      causationId: null,
    }
    await log.append(STREAM, [await codec.encode({id, event, metadata})], 'none')
  }
  for await (const record of log.readStream(STREAM, {limit: 1})) {
    const [event] = await codec.decode([record])
    if (!event || isFaulty(event) || event.type !== 'HistoryBegan') break
    if (event.data.keyCheck !== keyCheck) throw new ForeignLog()
    return event.data.identity
  }
  throw new Error(NOT_OURS)
}
