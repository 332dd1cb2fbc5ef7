import {bears, type Marks, type Message} from '../domain/chat.ts'
import type {RoomId} from '../domain/room.ts'
import {type Codec, isFaulty} from '../log/codec.ts'
import type {EventLog} from '../log/eventLog.ts'
import {chatStream} from './streams.ts'

/** A room's messages with `after` < seq ≤ `upTo`, oldest first, as the log has them. */
export const readChat = async function* (
  {log, codec}: {log: EventLog; codec: Codec},
  roomId: RoomId,
  {after, upTo}: {after: number; upTo: number},
): AsyncGenerator<Message> {
  // Every message is an event and other events share the stream, so a revision is never below its seq.
  for await (const record of log.readStream(chatStream(roomId), {from: after + 1})) {
    const [event] = await codec.decode([record])
    if (!event || isFaulty(event) || event.type !== 'MessageSent' || event.data.seq <= after) continue
    if (event.data.seq > upTo) return
    yield event.data
    if (event.data.seq === upTo) return
  }
}

/** The first message with `after` < seq < `before` that bears one of the marks. */
export const markedInChat = async (
  reader: {log: EventLog; codec: Codec},
  roomId: RoomId,
  marks: Marks,
  {after, before}: {after: number; before: number},
): Promise<Message | null> => {
  for await (const message of readChat(reader, roomId, {after, upTo: before - 1})) {
    if (bears(message, marks)) return message
  }
  return null
}
