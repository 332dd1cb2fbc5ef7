import type {Pool} from 'pg'
import type {Marks, MessageId, Message as Sent} from '../domain/chat.ts'
import {ERASED} from '../domain/event.ts'
import type {RoomId} from '../domain/room.ts'
import {readTable} from './readTable.ts'

export const messages = readTable({
  name: 'messages',
  version: 1,
  columns: {
    room_id: 'text',
    seq: 'int',
    id: 'text',
    user_id: 'text',
    username: 'text',
    is_bot: 'boolean',
    content: 'text',
    nonce: 'text',
    request_key: 'text',
    created_at: 'timestamptz',
    position: 'bigint',
  },
  key: ['room_id', 'seq'],
  indexes: [
    'UNIQUE (room_id, user_id, nonce) WHERE nonce IS NOT NULL',
    'UNIQUE (room_id, user_id, request_key) WHERE request_key IS NOT NULL',
  ],
  erased: [{where: 'user_id', set: {username: ERASED, content: ERASED}}],
  handlers: {
    MessageSent: ({data, position}, rows) =>
      rows.put({
        room_id: data.roomId,
        seq: data.seq,
        id: data.messageId,
        user_id: data.senderId,
        username: data.username,
        is_bot: data.isBot,
        content: data.content,
        nonce: data.nonce,
        request_key: data.key,
        created_at: data.sentAt,
        position,
      }),
  },
})

/** A message as every client gets it; `createdAt` is an ISO time. */
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

export const messageOf = ({messageId, roomId, senderId, username, content, isBot, seq, sentAt}: Sent): Message => ({
  id: messageId,
  roomId,
  userId: senderId,
  username,
  content,
  createdAt: sentAt,
  isBot,
  seq,
})

/** A stored time as every client gets it. */
export const isoTime = (column: string): string =>
  `to_char(${column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`

const COLUMNS = `id, room_id AS "roomId", user_id AS "userId", username, content, ${isoTime('created_at')} AS "createdAt", is_bot AS "isBot", seq`

/**
 * Messages of a room after the seq `$2`, oldest first, or before it, newest first; at most `$3`. With a `roomId` of which
 * PostgreSQL does not know the value it plans once for all rooms; else anew each time, which takes longer than to read them.
 */
export const messagesQuery = (forward: boolean, roomId: string): string =>
  `SELECT ${COLUMNS} FROM ${messages.view} WHERE room_id = ${roomId} AND seq ${forward ? '>' : '<'} $2
   ORDER BY seq ${forward ? 'ASC' : 'DESC'} LIMIT $3`

/** `before` and `since` are exclusive; `before` (or neither) gives the newest that fit. */
export type MessageRange = {before?: number | undefined; since?: number | undefined; limit: number}
export const seqOf = ({before, since}: MessageRange): number => since ?? before ?? 2_147_483_647

/** Oldest first. */
export const listMessages = async (pool: Pool, roomId: string, range: MessageRange): Promise<Message[]> => {
  const forward = range.since !== undefined
  const {rows} = await pool.query<Message>({
    name: `list messages ${forward}`,
    text: messagesQuery(forward, '$1'),
    values: [roomId, seqOf(range), range.limit],
  })
  return forward ? rows : rows.reverse()
}

/** What this sender stored under the marks, and the newest seq that the table holds: one snapshot, so no gap between them. */
export const findMarked = async (
  pool: Pool,
  roomId: RoomId,
  {senderId, nonce, key}: Marks,
): Promise<{found: {message: Sent; position: bigint} | null; upTo: number}> => {
  type Marked = {upTo: number; id: MessageId | null; nonce: string | null; key: string | null; position: string}
  const {rows} = await pool.query<Omit<Message, 'id'> & Marked>({
    name: 'find marked',
    text: `SELECT newest AS "upTo", ${COLUMNS}, nonce, request_key AS key, position
           FROM (SELECT coalesce(max(seq), -1) AS newest FROM ${messages.view} WHERE room_id = $1) n
           LEFT JOIN ${messages.view} ON room_id = $1 AND user_id = $2 AND (nonce = $3 OR request_key = $4)
           ORDER BY seq LIMIT 1`,
    values: [roomId, senderId, nonce, key],
  })
  const {upTo, id, createdAt: sentAt, position, ...found} = rows[0]!
  if (id === null) return {found: null, upTo}
  const {username, content, isBot, seq} = found
  const marks = {senderId, nonce: found.nonce, key: found.key}
  const message = {roomId, messageId: id, seq, username, isBot, content, sentAt, ...marks}
  return {found: {message, position: BigInt(position)}, upTo}
}
