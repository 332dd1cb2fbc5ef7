/** The shapes of API.md that this client reads. */
export type Provider = 'discord' | 'reddit' | 'email'
export type User = {id: string; username: string; provider: Provider; email: string | null}

export type Post = {
  id: string
  author_id: string
  author_name: string
  title: string
  body: string
  attachments: string[]
  created_at: string
}

export type Message = {
  id: string
  roomId: string
  userId: string
  username: string
  content: string
  createdAt: string
  isBot: boolean
  seq: number
}

export type Room = {
  id: string
  name: string
  visibility: 'invite' | 'open'
  createdBy: string
  createdAt: string
  memberCount: number
  lastSeq: number
  lastMessage: Message | null
  readSeq: number | null
}

export type Member = {userId: string; username: string; isBot: boolean; joinedAt: string; online: boolean}

export type Invitation = {
  roomId: string
  roomName: string
  invitedBy: {userId: string; username: string}
  invitedAt: string
}

export type SearchResult = {kind: 'post'; post: Post} | {kind: 'message'; roomName: string; message: Message}

/** What stands where somebody erased what was there. */
export const ERASED = '[erased]'

/** Code points; what the server refuses beyond. */
export const LIMITS = {title: 200, body: 40_000, attachments: 10, username: 50, roomName: 100, message: 4_000}
export const PASSWORD = {minCharacters: 6, maxBytes: 72}
export const UPLOAD = {
  bytes: 10_485_760,
  types: ['image/jpeg', 'image/png', 'image/gif', 'image/webp', 'application/pdf'],
}

export const length = (text: string): number => {
  let count = 0
  for (const _ of text) count++
  return count
}
