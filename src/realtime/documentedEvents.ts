import {z} from 'zod'
import {MessageShape, PostShape} from '../edge/shapes.ts'
import type {DocumentedEvent} from '../edge/socketEvent.ts'
import {joinRoomDocumented} from './joinRoomEvent.ts'
import {presenceDocumented} from './presenceEvent.ts'
import {readDocumented} from './readEvent.ts'
import {sendMessageDocumented} from './sendMessageEvent.ts'

const roomId = z.string()
const Member = {roomId, userId: z.string(), username: z.string()}

/** What happens to a room: told by `kind`. */
const RoomChange = z.discriminatedUnion('kind', [
  z.object({kind: z.literal('joined'), ...Member}),
  z.object({kind: z.literal('left'), ...Member}),
  z.object({
    kind: z.literal('invited'),
    roomId,
    roomName: z.string(),
    by: z.object({userId: z.string(), username: z.string()}),
  }),
  z.object({
    kind: z.literal('created'),
    roomId,
    roomName: z.string(),
    visibility: z.enum(['invite', 'open']),
    by: z.object({userId: z.string()}),
  }),
])

/** Every socket event there is, as the documentation shows them. */
export const documentedEvents: readonly DocumentedEvent[] = [
  joinRoomDocumented,
  sendMessageDocumented,
  readDocumented,
  {
    name: 'message',
    from: 'server',
    summary: 'A message in a room that this socket has joined',
    description: 'In the order of `seq`, each once, after it was stored for good.',
    args: [{name: 'message', shape: MessageShape}],
  },
  {
    name: 'room',
    from: 'server',
    summary: 'What happens to a room',
    description:
      '`joined` and `left` to the sockets in the room and to all of that person; `invited` to those of the invited person only; `created` to bots.',
    args: [{name: 'change', shape: RoomChange}],
  },
  {
    name: 'post',
    from: 'server',
    summary: 'A new post, to everybody',
    args: [{name: 'post', shape: PostShape}],
  },
  presenceDocumented,
]
