import {z} from 'zod'
import {sendMessage} from '../commands/sendMessage.ts'
import {MessageContent, Nonce} from '../domain/chat.ts'
import {isRefusal} from '../domain/event.ts'
import type {RoomId} from '../domain/room.ts'
import {storable} from '../domain/text.ts'
import {refused} from '../edge/errors.ts'
import type {Parts} from '../edge/parts.ts'
import {MessageShape, Ok} from '../edge/shapes.ts'
import {type DocumentedEvent, readArgument} from '../edge/socketEvent.ts'
import {newMessageId} from '../keys/ids.ts'
import {messageOf} from '../projections/messages.ts'
import type {Delivery} from './delivery.ts'
import type {SocketEvent} from './sockets.ts'

const Payload = z.object({
  roomId: storable.max(100),
  content: MessageContent,
  nonce: Nonce.optional().describe('Of the sender: the same one again is the same message, also a day later.'),
})

const argument = {name: 'message', shape: Payload}

export const sendMessageDocumented: DocumentedEvent = {
  name: 'send_message',
  from: 'client',
  summary: 'Sends a message to a room',
  description:
    'The callback is called once the message is stored for good. Every socket that did `join_room` gets it as `message`, those of the sender too. Sending needs membership, not `join_room`.',
  args: [argument],
  answer: Ok.extend({
    message: MessageShape,
    position: z
      .string()
      .regex(/^\d+$/)
      .describe('For `X-Min-Position`: a read that sends it shows the message, on any node.'),
  }),
  errors: ['INVALID', 'NOT_A_MEMBER', 'NOT_FOUND', 'RATE_LIMITED', 'BUSY', 'UNAVAILABLE'],
}

/** `send_message`: answered once the log holds the message durably; the tail brings it to the room. */
export const sendMessageEvent = ({execute, findMarked, limits}: Parts, delivery: Delivery): SocketEvent => ({
  name: 'send_message',
  command: 'sendMessage',
  handle: async (_socket, by, args, requestId, reply) => {
    const {roomId, content, nonce} = readArgument(argument, args[0])
    if (!by.isBot) await limits.messages(by.userId)
    const sent = await sendMessage(
      {execute, findMarked},
      {
        by,
        roomId: roomId as RoomId,
        messageId: newMessageId(),
        content,
        nonce: nonce ?? null,
      },
      {correlationId: requestId},
    )
    if (isRefusal(sent)) throw refused(sent)
    delivery.acknowledge(by.userId, sent.position)
    reply({ok: true, message: messageOf(sent.message), position: sent.position.toString()})
  },
})
