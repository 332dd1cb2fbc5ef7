import {z} from 'zod'
import {sendMessage} from '../commands/sendMessage.ts'
import {MessageContent, Nonce} from '../domain/chat.ts'
import {isRefusal} from '../domain/event.ts'
import type {RoomId} from '../domain/room.ts'
import {ApiError, refused} from '../edge/errors.ts'
import type {Parts} from '../edge/parts.ts'
import {MessageShape, Ok} from '../edge/shapes.ts'
import {newMessageId} from '../keys/ids.ts'
import {messageOf, messages} from '../projections/messages.ts'
import {roomMembers} from '../projections/roomMembers.ts'
import {listMessagesFor, rooms} from '../projections/rooms.ts'
import {count, pathId} from './parameters.ts'
import {type Route, route} from './route.ts'

const seq = count(-1, 2_147_483_647)

export const messageRoutes = (parts: Parts): Route[] => {
  const {pool, execute, findMarked, limits} = parts
  const params = z.object({roomId: pathId})
  return [
    route({
      operationId: 'listMessages',
      method: 'get',
      path: '/api/rooms/:roomId/messages',
      summary: 'Messages of the room, oldest first: the newest, those before a seq, or those since one',
      description: '`before` and `since` are a `seq`, exclusive, and not to be combined; -1 is the beginning.',
      auth: 'person',
      params,
      query: z
        .object({
          limit: count(1, 200).default(50).describe('How many at most.'),
          before: seq.optional().describe('The newest ones before this `seq`.'),
          since: seq.optional().describe('The oldest ones after this `seq`.'),
        })
        .refine(({before, since}) => before === undefined || since === undefined, {
          path: ['since'],
          message: 'can not be combined with before',
        }),
      answer: Ok.extend({messages: z.array(MessageShape)}),
      errors: ['NOT_A_MEMBER', 'NOT_FOUND'],
      tables: [rooms, roomMembers, messages],
      handle: async ({by, params: {roomId}, query}) => {
        const found = await listMessagesFor(pool, by.userId, roomId, query)
        if (!found) throw new ApiError('NOT_FOUND')
        if (!found.isMember && !by.isBot) throw new ApiError('NOT_A_MEMBER')
        return {body: {ok: true, messages: found.messages}}
      },
    }),
    route({
      operationId: 'sendMessage',
      method: 'post',
      path: '/api/rooms/:roomId/messages',
      summary: 'Sends a message without a socket',
      description:
        'The same `nonce` by the same sender in the same room is the same message, also after a day, and whether it came by HTTP or a socket.',
      auth: 'person',
      params,
      body: z.object({
        content: MessageContent,
        nonce: Nonce.optional().describe('Of the sender: the same one again is the same message.'),
      }),
      answer: Ok.extend({message: MessageShape}),
      errors: ['NOT_A_MEMBER', 'NOT_FOUND', 'IDEMPOTENCY_KEY_REUSED'],
      repeatable: true,
      tables: [messages, rooms],
      handle: async ({by, params: {roomId}, body: {content, nonce}, repeat, requestId}) => {
        if (!by.isBot) await limits.messages(by.userId)
        const sent = await sendMessage(
          {execute, findMarked},
          {
            by,
            roomId: roomId as RoomId,
            messageId: newMessageId(),
            content,
            nonce: nonce ?? null,
            key: repeat,
          },
          {correlationId: requestId},
        )
        if (isRefusal(sent)) throw refused(sent)
        return {body: {ok: true, message: messageOf(sent.message)}, position: sent.position}
      },
    }),
  ]
}
