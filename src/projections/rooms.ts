import type {Pool} from 'pg'
import {
  type Message,
  type MessageRange,
  messages,
  messagesQuery,
  type StoredMessage,
  seqOf,
  toMessage,
} from './messages.ts'
import {readTable} from './readTable.ts'
import {roomMembers} from './roomMembers.ts'

export const rooms = readTable({
  name: 'rooms',
  version: 1,
  columns: {
    room_id: 'text',
    name: 'text',
    visibility: 'text',
    created_by: 'text',
    created_at: 'timestamptz',
    member_count: 'int',
    last_seq: 'int',
    position: 'bigint',
  },
  key: ['room_id'],
  indexes: ['UNIQUE (position)', '(visibility, position)'],
  handlers: {
    RoomCreated: ({data, metadata, position}, rows) =>
      rows.put({
        room_id: data.roomId,
        name: data.name,
        visibility: data.visibility,
        created_by: data.creatorId,
        created_at: metadata.time,
        member_count: 0,
        last_seq: -1,
        position,
      }),
    UserJoined: ({data}, rows) => rows.add({room_id: data.roomId}, {member_count: 1}),
    UserLeft: ({data}, rows) => rows.add({room_id: data.roomId}, {member_count: -1}),
    MessageSent: ({data}, rows) => rows.patch({room_id: data.roomId}, {last_seq: data.seq}),
  },
})

export type RoomRow = {
  id: string
  name: string
  visibility: 'invite' | 'open'
  createdBy: string
  createdAt: Date
  memberCount: number
  lastSeq: number
  lastMessage: Message | null
  isMember: boolean
  position: string
}

const COLUMNS = `r.room_id AS id, r.name, r.visibility, r.created_by AS "createdBy", r.created_at AS "createdAt",
  r.member_count AS "memberCount", r.last_seq AS "lastSeq", r.position, CASE WHEN l.seq IS NOT NULL THEN json_build_object(
    'id', l.id, 'roomId', l.room_id, 'userId', l.user_id, 'username', l.username, 'content', l.content,
    'createdAt', to_char(l.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), 'isBot', l.is_bot, 'seq', l.seq
  ) END AS "lastMessage"`
// With a limit, so that it is looked up for each room: PostgreSQL would rather read all messages of a single one.
const LAST_MESSAGE = `LEFT JOIN LATERAL (
    SELECT * FROM ${messages.view} m WHERE m.room_id = r.room_id AND m.seq = r.last_seq LIMIT 1
  ) l ON true`
const IS_MEMBER = `EXISTS (SELECT FROM ${roomMembers.view} m WHERE m.room_id = r.room_id AND m.user_id = $1) AS "isMember"`

type Page = {before: bigint | null; limit: number}
const start = ({before}: Page): string => before?.toString() ?? '9223372036854775807'

/** The rooms that this person is in, newest first. */
export const listRoomsOf = async (pool: Pool, userId: string, page: Page): Promise<RoomRow[]> => {
  const {rows} = await pool.query<RoomRow>({
    name: 'list rooms of',
    text: `SELECT ${COLUMNS}, true AS "isMember" FROM ${roomMembers.view} m JOIN ${rooms.view} r ON r.room_id = m.room_id ${LAST_MESSAGE}
           WHERE m.user_id = $1 AND r.position < $2 ORDER BY r.position DESC LIMIT $3`,
    values: [userId, start(page), page.limit],
  })
  return rows
}

/** The rooms that anybody may join, newest first. */
export const listOpenRooms = async (pool: Pool, userId: string, page: Page): Promise<RoomRow[]> => {
  const {rows} = await pool.query<RoomRow>({
    name: 'list open rooms',
    text: `SELECT ${COLUMNS}, ${IS_MEMBER} FROM ${rooms.view} r ${LAST_MESSAGE}
           WHERE r.visibility = 'open' AND r.position < $2 ORDER BY r.position DESC LIMIT $3`,
    values: [userId, start(page), page.limit],
  })
  return rows
}

/** Every room, newest first: what a bot sees. */
export const listAllRooms = async (pool: Pool, page: Page): Promise<RoomRow[]> => {
  const {rows} = await pool.query<RoomRow>({
    name: 'list all rooms',
    text: `SELECT ${COLUMNS}, true AS "isMember" FROM ${rooms.view} r ${LAST_MESSAGE}
           WHERE r.position < $1 ORDER BY r.position DESC LIMIT $2`,
    values: [start(page), page.limit],
  })
  return rows
}

/** For each of these people, the rooms of at most so many members that they are in. */
export const listSmallRoomsOf = async (
  pool: Pool,
  userIds: readonly string[],
  maxMembers: number,
): Promise<ReadonlyMap<string, string[]>> => {
  const {rows} = await pool.query<{userId: string; roomIds: string[]}>({
    name: 'list small rooms of',
    text: `SELECT m.user_id AS "userId", array_agg(m.room_id) AS "roomIds"
           FROM ${roomMembers.view} m JOIN ${rooms.view} r ON r.room_id = m.room_id
           WHERE m.user_id = ANY($1) AND r.member_count <= $2 GROUP BY m.user_id`,
    values: [userIds, maxMembers],
  })
  return new Map(rows.map(({userId, roomIds}) => [userId, roomIds]))
}

export const findRoom = async (pool: Pool, userId: string, roomId: string): Promise<RoomRow | null> => {
  const {rows} = await pool.query<RoomRow>({
    name: 'find room',
    text: `SELECT ${COLUMNS}, EXISTS (SELECT FROM ${roomMembers.view} WHERE room_id = $2 AND user_id = $1) AS "isMember"
           FROM ${rooms.view} r ${LAST_MESSAGE} WHERE r.room_id = $2`,
    values: [userId, roomId],
  })
  return rows[0] ?? null
}

/** Messages of a room, oldest first, and whether this person is a member, of one snapshot; null: there is no such room. */
export const listMessagesFor = async (
  pool: Pool,
  userId: string,
  roomId: string,
  range: MessageRange,
): Promise<{isMember: boolean; messages: Message[]} | null> => {
  const forward = range.since !== undefined
  const {rows} = await pool.query<StoredMessage & {isMember: boolean}>({
    name: `list messages for ${forward}`,
    text: `SELECT m.*, EXISTS (SELECT FROM ${roomMembers.view} WHERE room_id = $1 AND user_id = $4) AS "isMember"
           FROM ${rooms.view} r LEFT JOIN LATERAL (${messagesQuery(forward)}) m ON true
           WHERE r.room_id = $1 ORDER BY m.seq`,
    values: [roomId, seqOf(range), range.limit, userId],
  })
  const [first] = rows
  if (!first) return null
  // An empty room is a row without a message.
  const found = first.id === null ? [] : rows.map(({isMember: _, ...row}) => toMessage(row))
  return {isMember: first.isMember, messages: found}
}
