import type {ChatEvent, MessageId} from '../../src/domain/chat.ts'
import type {IdentityEvent, IdentityHash} from '../../src/domain/identity.ts'
import type {PostEvent, PostId} from '../../src/domain/post.ts'
import {inviteeOf, type RoomEvent, type RoomId} from '../../src/domain/room.ts'
import type {Actor, UserEvent, UserId} from '../../src/domain/user.ts'

/** Events as they read in a test: what happened, to whom. */

export const attempted = (
  userId: UserId,
  identity: IdentityHash,
  {
    username = 'Ann',
    passwordHash = 'a hash',
    token = {hash: 'token', expiresAt: '2100-01-01T00:00:00.000Z'},
  }: {username?: string; passwordHash?: string | null; token?: {hash: string; expiresAt: string}} = {},
): UserEvent => ({
  type: 'UserRegistered',
  data: {
    userId,
    provider: 'email',
    identity,
    email: `${username.toLowerCase()}@example.com`,
    username,
    passwordHash,
    tokenHash: token.hash,
    tokenExpiresAt: token.expiresAt,
  },
})

export const verified = (userId: UserId, tokenHash = 'token'): UserEvent => ({
  type: 'UserVerified',
  data: {userId, tokenHash},
})

export const claimed = (identity: IdentityHash, userId: string): IdentityEvent => ({
  type: 'IdentityClaimed',
  data: {identity, userId},
})

export const postCreated = (
  postId: PostId,
  by: Actor,
  content: {title: string; body: string; attachments: string[]},
): PostEvent => ({type: 'PostCreated', data: {postId, authorId: by.userId, authorName: by.username, ...content}})

export const roomCreated = (
  roomId: RoomId,
  by: Actor,
  {name = 'Lobby', visibility = 'invite'}: {name?: string; visibility?: 'invite' | 'open'} = {},
): RoomEvent => ({type: 'RoomCreated', data: {roomId, name, visibility, creatorId: by.userId}})

export const joined = (
  roomId: RoomId,
  {userId, username, isBot}: Actor,
  invitation: string | null = null,
): RoomEvent => ({
  type: 'UserJoined',
  data: {roomId, userId, username, isBot, invitation: invitation === null ? null : inviteeOf(invitation)},
})

export const left = (roomId: RoomId, {userId, username}: Actor): RoomEvent => ({
  type: 'UserLeft',
  data: {roomId, userId, username},
})

export const invited = (
  roomId: RoomId,
  whom: string,
  by: Actor,
  {named = whom, standing = 'new'}: {named?: string; standing?: 'new' | 'old'} = {},
): RoomEvent => ({
  type: 'UserInvited',
  data: {roomId, invitee: inviteeOf(whom), named, standing, inviterId: by.userId, inviterName: by.username},
})

export const declined = (roomId: RoomId, {userId, identity}: Actor): RoomEvent => ({
  type: 'InvitationDeclined',
  data: {roomId, invitee: inviteeOf(identity!), userId},
})

export const sent = (
  roomId: RoomId,
  seq: number,
  by: Actor,
  {content = `message ${seq}`, nonce = null}: {content?: string; nonce?: string | null} = {},
): ChatEvent => ({
  type: 'MessageSent',
  data: {
    roomId,
    messageId: `m-${roomId}-${seq}` as MessageId,
    seq,
    senderId: by.userId,
    username: by.username,
    isBot: by.isBot,
    content,
    nonce,
    key: null,
    sentAt: '2025-01-01T00:00:00.000Z',
  },
})
