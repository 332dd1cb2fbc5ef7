import {z} from 'zod'
import {Provider} from '../domain/user.ts'
import {type Code, ERRORS} from './errors.ts'

const time = z.iso
  .datetime({precision: 3})
  .meta({json: {type: 'string', format: 'date-time', pattern: '^\\d{4}-\\d{2}-\\d{2}T\\d{2}:\\d{2}:\\d{2}\\.\\d{3}Z$'}})

const roomId = z.string().regex(/^r-/).describe('The id of the room.')
const userId = z
  .string()
  .regex(/^((email|discord|reddit)_[a-z2-7]{26}|bot_[a-z0-9_-]{1,32})$/)
  .describe('The id of a person: the provider and 26 random characters. Of a bot: `bot_` and its name for itself.')
const seq = z.int().nonnegative().describe('0, 1, 2… without gaps in its room.')

export const UserShape = z
  .object({
    id: userId,
    username: z.string(),
    provider: Provider.describe('How the person signs in. Of a bot: `email`.'),
    email: z.string().nullable().describe('null where the provider gives none.'),
  })
  .meta({id: 'User', description: 'The person who is signed in.'})

export const PostShape = z
  .object({
    id: z.string().regex(/^u-/).describe('The id of the post.'),
    author_id: userId,
    author_name: z.string().describe("The author's name at the time of writing."),
    title: z.string(),
    body: z.string().describe('Empty where there is none.'),
    attachments: z.array(z.string()).describe('URLs, at most 10.'),
    created_at: time,
  })
  .meta({id: 'Post', description: 'A post.'})

export const MessageShape = z
  .object({
    id: z.string(),
    roomId,
    userId: userId.describe('Who sent it.'),
    username: z.string().describe("The sender's name at the time of writing."),
    content: z.string(),
    createdAt: time,
    isBot: z.boolean(),
    seq,
  })
  .meta({id: 'Message', description: 'A message in a room: the same over HTTP and sockets.'})

export const RoomShape = z
  .object({
    id: roomId,
    name: z.string(),
    visibility: z.enum(['invite', 'open']).describe('Whether one needs an invitation to join.'),
    createdBy: userId,
    createdAt: time,
    memberCount: z.int().nonnegative(),
    lastSeq: z.int().min(-1).describe('The `seq` of the newest message; -1 while the room is empty.'),
    lastMessage: MessageShape.nullable().describe(
      'The newest message; null while there is none, and to who is not in the room.',
    ),
    readSeq: z
      .int()
      .min(-1)
      .nullable()
      .describe('How far one has read; -1: nothing yet. null to who is not in the room.'),
  })
  .meta({id: 'Room', description: 'A room.'})

export const MemberShape = z
  .object({userId, username: z.string(), isBot: z.boolean(), joinedAt: time, online: z.boolean()})
  .meta({id: 'Member', description: 'Somebody who is in a room.'})

export const InvitationShape = z
  .object({
    roomId,
    roomName: z.string(),
    invitedBy: z.object({userId, username: z.string()}),
    invitedAt: time,
  })
  .meta({id: 'Invitation', description: 'An invitation to a room that one has neither joined nor declined yet.'})

const codes = Object.keys(ERRORS) as Code[]

export const ErrorShape = z
  .object({
    ok: z.literal(false),
    error: z.string().describe('A sentence for a person.'),
    code: z.enum(codes).describe('What it is, for a program; it never changes its meaning.'),
    requestId: z.uuid().describe('By which the server has it in its log.'),
    issues: z
      .array(z.object({path: z.string().describe('The field, by its path; empty: the whole.'), message: z.string()}))
      .optional()
      .describe('What is wrong with which field.'),
    resend: z.literal(true).optional().describe('The mail can be sent again.'),
  })
  .meta({id: 'Error', description: 'What every refusal looks like, over HTTP and in the callback of a socket event.'})

export const Ok = z.object({ok: z.literal(true)})
