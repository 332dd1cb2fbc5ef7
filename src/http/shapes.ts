import {z} from 'zod'
import {storable} from '../domain/text.ts'
import {Provider} from '../domain/user.ts'

const time = z.iso.datetime({precision: 3})

export const UserShape = z.object({
  id: z.string(),
  username: z.string(),
  provider: Provider,
  email: z.string().nullable(),
})

export const PostShape = z.object({
  id: z.string().startsWith('u-'),
  author_id: z.string(),
  author_name: z.string(),
  title: z.string(),
  body: z.string(),
  attachments: z.array(z.string()),
  created_at: time,
})

export const MessageShape = z.object({
  id: z.string(),
  roomId: z.string(),
  userId: z.string(),
  username: z.string(),
  content: z.string(),
  createdAt: time,
  isBot: z.boolean(),
  seq: z.int().nonnegative(),
})

export const RoomShape = z.object({
  id: z.string(),
  name: z.string(),
  visibility: z.enum(['invite', 'open']),
  createdBy: z.string(),
  createdAt: time,
  memberCount: z.int(),
  lastSeq: z.int(),
  lastMessage: MessageShape.nullable(),
  readSeq: z.int().nullable(),
})

export const MemberShape = z.object({
  userId: z.string(),
  username: z.string(),
  isBot: z.boolean(),
  joinedAt: time,
  online: z.boolean(),
})

export const InvitationShape = z.object({
  roomId: z.string(),
  roomName: z.string(),
  invitedBy: z.object({userId: z.string(), username: z.string()}),
  invitedAt: time,
})

export const Ok = z.object({ok: z.literal(true)})

/** A whole number in a query. */
export const count = (min: number, max: number) =>
  z
    .string()
    .regex(/^-?\d{1,10}$/, 'must be a whole number')
    .transform(Number)
    .refine((value) => value >= min && value <= max, `must be from ${min} to ${max}`)

/** A position in decimals: where a page goes on. It means something to the server only. */
export const cursor = z
  .string()
  .regex(/^\d{1,19}$/, 'must be the cursor of a Link header')
  .transform((value) => BigInt(value))
  .refine((value) => value <= 9_223_372_036_854_775_807n, 'must be the cursor of a Link header')

/** An id in a path. What can't be one is not found. */
export const pathId = storable.max(100)
