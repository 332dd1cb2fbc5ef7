import {SECRETS} from '../domain/event.ts'
import {type Codec, isFaulty} from '../log/codec.ts'
import type {LogRecord} from '../log/eventLog.ts'

/** An event for an auditor: opened where its keys are there, without hashes of passwords and links. `fault`: it can't be read. */
export type ToldEvent = {
  position: string
  id: string
  stream: string
  revision: number
  type: string
  time: string
  actor: string | null
  command: string
  correlationId: string
  causationId: string | null
  data: {[field: string]: unknown}
  fault?: string
}

export const tell = async (codec: Codec, records: readonly LogRecord[]): Promise<ToldEvent[]> => {
  const events = await codec.decode(records)
  return records.map(({position, id, stream, revision, type, data, metadata}, index) => {
    const event = events[index]!
    const {time, actor, command, correlationId, causationId} = metadata as unknown as ToldEvent
    const shown = isFaulty(event) ? {...data, sealed: undefined} : event.data
    return {
      position: position.toString(),
      id,
      stream,
      revision,
      type,
      time,
      actor,
      command,
      correlationId,
      causationId,
      data: Object.fromEntries(Object.entries(shown).filter(([field]) => !SECRETS.has(field))),
      ...(isFaulty(event) && {fault: event.fault}),
    }
  })
}
