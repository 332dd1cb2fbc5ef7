import type {Pool} from 'pg'
import {ERASED} from '../domain/event.ts'
import type {RoomId} from '../domain/room.ts'
import {readTable} from './readTable.ts'
import {roomMembers} from './roomMembers.ts'
import {rooms} from './rooms.ts'

export const roomInvitations = readTable({
  name: 'room_invitations',
  version: 1,
  columns: {
    room_id: 'text',
    invitee: 'text',
    inviter_id: 'text',
    inviter_name: 'text',
    invited_at: 'timestamptz',
    position: 'bigint',
  },
  key: ['room_id', 'invitee'],
  indexes: ['(invitee, position)'],
  erased: [{where: 'inviter_id', set: {inviter_name: ERASED}}],
  handlers: {
    UserInvited: ({data, metadata, position}, rows) => {
      if (data.standing === 'old') return
      rows.put({
        room_id: data.roomId,
        invitee: data.invitee,
        inviter_id: data.inviterId,
        inviter_name: data.inviterName,
        invited_at: metadata.time,
        position,
      })
    },
    UserJoined: ({data}, rows) => {
      if (data.invitation) rows.remove({room_id: data.roomId, invitee: data.invitation})
    },
    InvitationDeclined: ({data}, rows) => rows.remove({room_id: data.roomId, invitee: data.invitee}),
  },
})

export type InvitationRow = {
  roomId: string
  roomName: string
  inviterId: string
  inviterName: string
  invitedAt: Date
}

/** The newest 500 invitations of whoever owns the identity, newest first. */
export const listInvitations = async (pool: Pool, invitee: string): Promise<InvitationRow[]> => {
  const {rows} = await pool.query<InvitationRow>({
    name: 'list invitations',
    text: `SELECT i.room_id AS "roomId", r.name AS "roomName", i.inviter_id AS "inviterId",
             i.inviter_name AS "inviterName", i.invited_at AS "invitedAt"
           FROM ${roomInvitations.view} i JOIN ${rooms.view} r USING (room_id)
           WHERE i.invitee = $1 ORDER BY i.position DESC LIMIT 500`,
    values: [invitee],
  })
  return rows
}

/** Rooms that this person is in, or that its identity is invited to. */
export const listRoomIdsOf = async (pool: Pool, userId: string, invitee: string): Promise<RoomId[]> => {
  const {rows} = await pool.query<{roomId: RoomId}>(
    `SELECT room_id AS "roomId" FROM ${roomMembers.view} WHERE user_id = $1
     UNION SELECT room_id FROM ${roomInvitations.view} WHERE invitee = $2`,
    [userId, invitee],
  )
  return rows.map(({roomId}) => roomId)
}
