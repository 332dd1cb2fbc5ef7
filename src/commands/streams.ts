import type {AccessEvent} from '../domain/access.ts'
import {type Chat, type ChatEvent, emptyChat, evolveChat, type Message, REMEMBERED} from '../domain/chat.ts'
import {evolveIdentity, freeIdentity, type Identity, type IdentityEvent, type IdentityHash} from '../domain/identity.ts'
import {evolvePost, noPost, type Post, type PostEvent, type PostId} from '../domain/post.ts'
import {evolveRoom, noRoom, type Room, type RoomEvent, type RoomId} from '../domain/room.ts'
import {evolveUser, noUser, type User, type UserEvent, type UserId} from '../domain/user.ts'
import {type Codec, isFaulty} from '../log/codec.ts'
import type {EventLog} from '../log/eventLog.ts'
import {type Fold, foldOf} from './execute.ts'

export const userStream = (userId: UserId): string => `user-${userId}`
export const identityStream = (identity: IdentityHash): string => `identity-${identity}`
export const accessStream = (userId: UserId): string => `access-${userId}`
export const postStream = (postId: PostId): string => `post-${postId}`
export const roomStream = (roomId: RoomId): string => `room-${roomId}`
export const chatStream = (roomId: RoomId): string => `chat-${roomId}`

export const userFold: Fold<User, UserEvent> = foldOf(noUser, evolveUser)
export const identityFold: Fold<Identity, IdentityEvent> = foldOf(freeIdentity, evolveIdentity)
export const accessFold: Fold<null, AccessEvent> = {...foldOf(null, () => null), newest: 1}
export const postFold: Fold<Post, PostEvent> = foldOf(noPost, evolvePost)
export const roomFold: Fold<Room, RoomEvent> = {initial: noRoom, evolve: evolveRoom}
export const chatFold: Fold<Chat, ChatEvent> = {...foldOf(emptyChat, evolveChat), newest: REMEMBERED}

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
