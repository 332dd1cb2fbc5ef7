import {type Access, type AccessEvent, evolveAccess, noAccess, REFUSALS_PER_HOUR} from '../domain/access.ts'
import {type Chat, type ChatEvent, emptyChat, evolveChat, REMEMBERED} from '../domain/chat.ts'
import {evolveIdentity, freeIdentity, type Identity, type IdentityEvent, type IdentityHash} from '../domain/identity.ts'
import type {OperationsEvent} from '../domain/operations.ts'
import {evolvePost, noPost, type Post, type PostEvent, type PostId} from '../domain/post.ts'
import {evolveRoom, noRoom, type Room, type RoomEvent, type RoomId} from '../domain/room.ts'
import {evolveUser, noUser, type User, type UserEvent, type UserId} from '../domain/user.ts'

/**
 * How a stream's events become the state that a `decide…` needs. `newest`: that many of the newest events give the whole
 * state, so that a long stream need not be read.
 */
export type Fold<S, E> = {initial: S; evolve: (state: S, events: readonly E[]) => S; newest?: number}

/** The fold of single steps. */
export const foldOf = <S, E>(initial: S, evolve: (state: S, event: E) => S): Fold<S, E> => ({
  initial,
  evolve: (state, events) => events.reduce(evolve, state),
})

export const userStream = (userId: UserId): string => `user-${userId}`
export const userIdOf = (stream: string): UserId => stream.slice('user-'.length) as UserId
export const identityStream = (identity: IdentityHash): string => `identity-${identity}`
export const accessStream = (userId: UserId): string => `access-${userId}`
export const postStream = (postId: PostId): string => `post-${postId}`
export const roomStream = (roomId: RoomId): string => `room-${roomId}`
export const OPERATIONS_STREAM = 'operations'
export const chatStream = (roomId: RoomId): string => `chat-${roomId}`

export const userFold: Fold<User, UserEvent> = foldOf(noUser, evolveUser)
export const identityFold: Fold<Identity, IdentityEvent> = foldOf(freeIdentity, evolveIdentity)
/** More than the refusals of an hour, as sign-ins stand between them. */
export const accessFold: Fold<Access, AccessEvent> = {
  ...foldOf(noAccess, evolveAccess),
  newest: 5 * REFUSALS_PER_HOUR,
}
export const postFold: Fold<Post, PostEvent> = foldOf(noPost, evolvePost)
export const roomFold: Fold<Room, RoomEvent> = {initial: noRoom, evolve: evolveRoom}
export const operationsFold: Fold<null, OperationsEvent> = {...foldOf(null, () => null), newest: 1}
export const chatFold: Fold<Chat, ChatEvent> = {...foldOf(emptyChat, evolveChat), newest: REMEMBERED}
