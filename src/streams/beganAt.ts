import {type Codec, isFaulty} from '../log/codec.ts'
import type {EventLog} from '../log/eventLog.ts'

/** The time of a stream's first event, in ISO 8601: what the first answer said, when a request is repeated. */
export type BeganAt = (stream: string) => Promise<string>

export const beganAtIn =
  ({log, codec}: {log: EventLog; codec: Codec}): BeganAt =>
  async (stream) => {
    for await (const record of log.readStream(stream, {limit: 1})) {
      const [event] = await codec.decode([record])
      if (event && !isFaulty(event)) return event.metadata.time
    }
    throw new Error(`the first event of ${stream} can't be read`)
  }
