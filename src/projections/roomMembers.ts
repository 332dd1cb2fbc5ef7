import type {Pool} from 'pg'
import {ERASED} from '../domain/event.ts'
import {readTable} from './readTable.ts'

export const roomMembers = readTable({
  name: 'room_members',
  version: 1,
  columns: {
    room_id: 'text',
    user_id: 'text',
    username: 'text',
    is_bot: 'boolean',
    joined_at: 'timestamptz',
    position: 'bigint',
  },
  key: ['room_id', 'user_id'],
  indexes: ['(user_id)', '(room_id, position)'],
  erased: [{where: 'user_id', set: {username: ERASED}}],
  handlers: {
    UserJoined: ({data, metadata, position}, rows) =>
      rows.put({
        room_id: data.roomId,
        user_id: data.userId,
        username: data.username,
        is_bot: data.isBot,
        joined_at: metadata.time,
        position,
      }),
    UserLeft: ({data}, rows) => rows.remove({room_id: data.roomId, user_id: data.userId}),
  },
})

export type MemberRow = {userId: string; username: string; isBot: boolean; joinedAt: Date; position: string}

/** In the order of joining. `after`: the position of the last member of the page before; null begins with the first. */
export const listMembers = async (
  pool: Pool,
  roomId: string,
  {after, limit}: {after: bigint | null; limit: number},
): Promise<MemberRow[]> => {
  const {rows} = await pool.query<MemberRow>({
    name: 'list members',
    text: `SELECT user_id AS "userId", username, is_bot AS "isBot", joined_at AS "joinedAt", position
           FROM ${roomMembers.view} WHERE room_id = $1 AND position > $2 ORDER BY position LIMIT $3`,
    values: [roomId, after?.toString() ?? '-1', limit],
  })
  return rows
}
