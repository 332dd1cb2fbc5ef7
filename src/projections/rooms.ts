import type {Pool} from 'pg'
import {isoTime, type Message, type MessageRange, messages, messagesQuery, seqOf} from './messages.ts'
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

/** A room as every client gets it; to who is not in it, without what is said there and what one has read. */
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

/** Who reads. `unstored`: what they have read, by room, that the stored marks do not say yet. */
export type Reader = {userId: string; isBot: boolean; unstored: {readonly [roomId: string]: number}}

/** A room in a list of this reader. `position`: where a page that ends with it goes on. */
export type ListedRoom = {room: Room; isMember: boolean; position: string}

type Row = Omit<Room, 'lastMessage'> & {
  isMember: boolean
  position: string
  /** Of the newest message; null where there is none. */
  messageId: string | null
  senderId: string
  username: string
  content: string
  sentAt: string
  isBot: boolean
}

// Flat, because to write and read JSON for each row costs PostgreSQL and us more than all the rest of the query.
const COLUMNS = `r.room_id AS id, r.name, r.visibility, r.created_by AS "createdBy", ${isoTime('r.created_at')} AS "createdAt",
  r.member_count AS "memberCount", r.last_seq AS "lastSeq", r.position, k.seq AS "readSeq", l.id AS "messageId",
  l.user_id AS "senderId", l.username, l.content, ${isoTime('l.created_at')} AS "sentAt", l.is_bot AS "isBot"`
// With a limit, so that it is looked up for each room: PostgreSQL would rather read all messages of a single one.
const NEWEST_AND_MARK = `LEFT JOIN LATERAL (
    SELECT * FROM ${messages.view} m WHERE m.room_id = r.room_id AND m.seq = r.last_seq LIMIT 1
  ) l ON true LEFT JOIN state.read_marks k ON k.user_id = $1 AND k.room_id = r.room_id`
const IS_MEMBER = `EXISTS (SELECT FROM ${roomMembers.view} m WHERE m.room_id = r.room_id AND m.user_id = $1)`

const listed = (row: Row, unstored: Reader['unstored']): ListedRoom => {
  const {id, name, visibility, createdBy, createdAt, memberCount, lastSeq, isMember, position} = row
  const {messageId, senderId: userId, username, content, sentAt, isBot} = row
  const newest =
    messageId === null
      ? null
      : {id: messageId, roomId: id, userId, username, content, createdAt: sentAt, isBot, seq: lastSeq}
  const lastMessage = isMember ? newest : null
  const readSeq = isMember ? Math.max(row.readSeq ?? -1, unstored[id] ?? -1) : null
  const room = {id, name, visibility, createdBy, createdAt, memberCount, lastSeq, lastMessage, readSeq}
  return {room, isMember, position}
}

type Page = {before: bigint | null; limit: number}

/** Newest first. `isMember`: whether the reader is in a room `r` of those that are chosen. */
const listOf =
  (name: string, {isMember, from, where}: {isMember: string; from: string; where: string}) =>
  async (pool: Pool, {userId, unstored}: Reader, {before, limit}: Page): Promise<ListedRoom[]> => {
    const {rows} = await pool.query<Row>({
      name,
      text: `SELECT ${COLUMNS}, ${isMember} AS "isMember" FROM ${from} ${NEWEST_AND_MARK}
             WHERE ${where} AND r.position < $2 ORDER BY r.position DESC LIMIT $3`,
      values: [userId, before?.toString() ?? '9223372036854775807', limit],
    })
    return rows.map((row) => listed(row, unstored))
  }

/** The rooms that this person is in. */
export const listRoomsOf = listOf('list rooms of', {
  isMember: 'true',
  from: `${roomMembers.view} m JOIN ${rooms.view} r ON r.room_id = m.room_id`,
  where: 'm.user_id = $1',
})

/** The rooms that anybody may join. */
export const listOpenRooms = listOf('list open rooms', {
  isMember: IS_MEMBER,
  from: `${rooms.view} r`,
  where: `r.visibility = 'open'`,
})

/** Every room: what a bot sees. */
export const listAllRooms = listOf('list all rooms', {isMember: 'true', from: `${rooms.view} r`, where: 'true'})

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

/** A bot is in every room. */
export const findRoom = async (
  pool: Pool,
  {userId, isBot, unstored}: Reader,
  roomId: string,
): Promise<ListedRoom | null> => {
  const {rows} = await pool.query<Row>({
    name: 'find room',
    text: `SELECT ${COLUMNS}, $3 OR ${IS_MEMBER} AS "isMember" FROM ${rooms.view} r ${NEWEST_AND_MARK} WHERE r.room_id = $2`,
    values: [userId, roomId, isBot],
  })
  return rows[0] ? listed(rows[0], unstored) : null
}

/** Messages of a room, oldest first, and whether this person is a member, of one snapshot; null: there is no such room. */
export const listMessagesFor = async (
  pool: Pool,
  userId: string,
  roomId: string,
  range: MessageRange,
): Promise<{isMember: boolean; messages: Message[]} | null> => {
  const forward = range.since !== undefined
  const {rows} = await pool.query<Message & {isMember: boolean}>({
    name: `list messages for ${forward}`,
    text: `SELECT m.*, EXISTS (SELECT FROM ${roomMembers.view} WHERE room_id = $1 AND user_id = $4) AS "isMember"
           FROM ${rooms.view} r LEFT JOIN LATERAL (${messagesQuery(forward, 'r.room_id')}) m ON true WHERE r.room_id = $1`,
    values: [roomId, seqOf(range), range.limit, userId],
  })
  const [first] = rows
  if (!first) return null
  // An empty room is a row without a message.
  const found = first.id === null ? [] : rows.map(messageIn)
  return {isMember: first.isMember, messages: forward ? found : found.reverse()}
}

/** Without what else is in the row. */
const messageIn = ({id, roomId, userId, username, content, createdAt, isBot, seq}: Message): Message => ({
  id,
  roomId,
  userId,
  username,
  content,
  createdAt,
  isBot,
  seq,
})
