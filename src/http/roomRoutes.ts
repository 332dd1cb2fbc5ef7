import {z} from 'zod'
import {createRoom} from '../commands/createRoom.ts'
import {inviteUser} from '../commands/inviteUser.ts'
import {joinRoom} from '../commands/joinRoom.ts'
import {leaveRoom} from '../commands/leaveRoom.ts'
import {isRefusal} from '../domain/event.ts'
import {type RoomId, RoomName, Visibility} from '../domain/room.ts'
import {storable} from '../domain/text.ts'
import type {Person} from '../edge/callers.ts'
import {ApiError, refused} from '../edge/errors.ts'
import type {Parts} from '../edge/parts.ts'
import {InvitationShape, MemberShape, MessageShape, Ok, RoomShape} from '../edge/shapes.ts'
import {newRoomId} from '../keys/ids.ts'
import {listMessages, messages} from '../projections/messages.ts'
import {listInvitations, roomInvitations} from '../projections/roomInvitations.ts'
import {listMembers, roomMembers} from '../projections/roomMembers.ts'
import {findRoom, listAllRooms, listOpenRooms, listRoomsOf, type Reader, rooms} from '../projections/rooms.ts'
import {parseInvitee} from './invitee.ts'
import {linkTo} from './link.ts'
import {count, cursor, pathId} from './parameters.ts'
import {type Route, route} from './route.ts'

const PAGE = 500
const RECENT_MESSAGES = 50

export const roomRoutes = (parts: Parts): Route[] => {
  const {pool, execute, beganAt, keys, tail, readMarks, presence} = parts
  const params = z.object({roomId: pathId})
  const readerOf = ({userId, isBot}: Person): Reader => ({userId, isBot, unstored: readMarks.unstored(userId)})

  /** Sockets follow memberships on the tail, so a change is answered once this node's tail has it. */
  const followed = async <R extends {position: bigint}>(changed: R): Promise<R> => {
    await tail.reached(changed.position, 2_000)
    return changed
  }

  return [
    route({
      operationId: 'listRooms',
      method: 'get',
      path: '/api/rooms',
      summary: 'The rooms I am in and my invitations; with visibility=open the rooms anybody may join',
      description:
        'Newest first; to a bot every room. Of rooms that one is not in, `lastMessage` and `readSeq` are null.',
      auth: 'person',
      query: z.object({
        visibility: z.literal('open', 'must be open').optional().describe('Rooms that anybody may join.'),
        limit: count(1, PAGE).default(PAGE).describe('How many rooms a page.'),
        cursor: cursor.optional(),
      }),
      answer: Ok.extend({rooms: z.array(RoomShape), invitations: z.array(InvitationShape)}),
      tables: [rooms, roomMembers, roomInvitations],
      handle: async ({by, query: {visibility, limit, cursor}}) => {
        const page = {before: cursor ?? null, limit: limit + 1}
        const list = visibility ? listOpenRooms : by.isBot ? listAllRooms : listRoomsOf
        const [found, invitations] = await Promise.all([
          list(pool, readerOf(by), page),
          by.identity === null ? [] : listInvitations(pool, by.identity),
        ])
        const shown = found.slice(0, limit)
        const query = `limit=${limit}&cursor=${shown.at(-1)?.position}${visibility ? '&visibility=open' : ''}`
        return {
          body: {
            ok: true,
            rooms: shown.map(({room}) => room),
            invitations: invitations.map(({roomId, roomName, inviterId, inviterName, invitedAt}) => ({
              roomId,
              roomName,
              invitedBy: {userId: inviterId, username: inviterName},
              invitedAt: invitedAt.toISOString(),
            })),
          },
          headers: linkTo(found.length > limit ? `/api/rooms?${query}` : null),
        }
      },
    }),
    route({
      operationId: 'createRoom',
      method: 'post',
      path: '/api/rooms',
      summary: 'Creates a room; its creator becomes a member',
      description: 'An `invite` room is joined by invitation only, an `open` one by anybody.',
      auth: 'person',
      body: z.object({name: RoomName, visibility: Visibility.default('invite')}),
      answer: Ok.extend({room: RoomShape}),
      errors: ['IDEMPOTENCY_KEY_REUSED'],
      repeatable: true,
      tables: [rooms, roomMembers],
      handle: async ({by, body, repeat, requestId}) => {
        const roomId = repeat === null ? newRoomId() : (`r-${repeat}` as RoomId)
        const created = await createRoom({execute, beganAt}, {by, roomId, ...body}, {correlationId: requestId})
        if (isRefusal(created)) throw refused(created)
        await followed(created)
        const room = {
          id: roomId,
          ...body,
          createdBy: by.userId,
          createdAt: created.time,
          memberCount: 1,
          lastSeq: -1,
          lastMessage: null,
          readSeq: -1,
        }
        return {body: {ok: true, room}, position: created.position}
      },
    }),
    route({
      operationId: 'readRoom',
      method: 'get',
      path: '/api/rooms/:roomId',
      summary: 'The room, its members and its newest messages',
      description: 'The newest 50 messages, oldest first; members by when they joined, in pages.',
      auth: 'person',
      params,
      query: z.object({
        limit: count(1, PAGE).default(PAGE).describe('How many members a page.'),
        cursor: cursor.optional(),
      }),
      answer: Ok.extend({room: RoomShape, members: z.array(MemberShape), messages: z.array(MessageShape)}),
      errors: ['NOT_A_MEMBER', 'NOT_FOUND'],
      tables: [rooms, roomMembers, messages],
      handle: async ({by, params: {roomId}, query: {limit, cursor}}) => {
        const found = await findRoom(pool, readerOf(by), roomId)
        if (!found) throw new ApiError('NOT_FOUND')
        if (!found.isMember) throw new ApiError('NOT_A_MEMBER')
        const [members, recent] = await Promise.all([
          listMembers(pool, roomId, {after: cursor ?? null, limit: limit + 1}),
          listMessages(pool, roomId, {limit: RECENT_MESSAGES}),
        ])
        const shown = members.slice(0, limit)
        const next = `/api/rooms/${roomId}?limit=${limit}&cursor=${shown.at(-1)?.position}`
        return {
          body: {
            ok: true,
            room: found.room,
            members: shown.map(({userId, username, isBot, joinedAt}) => ({
              userId,
              username,
              isBot,
              joinedAt: joinedAt.toISOString(),
              online: presence.isOnline(userId),
            })),
            messages: recent,
          },
          headers: linkTo(members.length > limit ? next : null),
        }
      },
    }),
    route({
      operationId: 'joinRoom',
      method: 'post',
      path: '/api/rooms/:roomId/join',
      summary: 'Joins an open room, or one that one is invited to',
      description: 'Joining uses the invitation up. To join a room that one is in changes nothing and is no error.',
      auth: 'person',
      params,
      answer: Ok,
      errors: ['NOT_INVITED', 'NOT_FOUND', 'ROOM_FULL'],
      tables: [rooms, roomMembers, roomInvitations],
      handle: async ({by, params: {roomId}, requestId}) => {
        const joined = await joinRoom({execute}, {by, roomId: roomId as RoomId}, {correlationId: requestId})
        if (isRefusal(joined)) throw refused(joined)
        return {body: {ok: true}, position: (await followed(joined)).position}
      },
    }),
    route({
      operationId: 'leaveRoom',
      method: 'post',
      path: '/api/rooms/:roomId/leave',
      summary: 'Leaves the room; for an invited person: declines',
      description: 'The last member may leave, too.',
      auth: 'person',
      params,
      answer: Ok,
      errors: ['NOT_A_MEMBER', 'NOT_FOUND'],
      tables: [rooms, roomMembers, roomInvitations],
      handle: async ({by, params: {roomId}, requestId}) => {
        const left = await leaveRoom({execute}, {by, roomId: roomId as RoomId}, {correlationId: requestId})
        if (isRefusal(left)) throw refused(left)
        return {body: {ok: true}, position: (await followed(left)).position}
      },
    }),
    route({
      operationId: 'inviteUser',
      method: 'post',
      path: '/api/rooms/:roomId/invite',
      summary: 'Invites by user id, address, Discord or Reddit id, whether or not anybody is known by it',
      description:
        'The answer is the same whether or not anybody is known by it: an invitation waits for whoever signs in with that address or account.',
      auth: 'person',
      params,
      body: z.object({
        userId: storable
          .max(320, 'must have at most 320 characters')
          .describe(
            'A user id; or an address, with or without `email_`; or a Discord or Reddit id, with or without the name before it.',
          ),
      }),
      answer: Ok,
      errors: ['NOT_A_MEMBER', 'NOT_FOUND', 'TOO_MANY_INVITATIONS'],
      tables: [roomInvitations],
      handle: async ({by, params: {roomId}, body: {userId}, requestId}) => {
        const whom = parseInvitee(userId, keys)
        if (!whom) {
          const message = 'must be a user id, an email address, a Discord id or a Reddit id'
          throw new ApiError('INVALID', {issues: [{path: 'userId', message}]})
        }
        const command = {by, roomId: roomId as RoomId, whom}
        const invited = await inviteUser({execute}, command, {correlationId: requestId})
        if (isRefusal(invited)) throw refused(invited)
        return {body: {ok: true}, position: (await followed(invited)).position}
      },
    }),
  ]
}
