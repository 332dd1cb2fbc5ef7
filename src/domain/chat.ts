import {z} from 'zod'
import {type Decision, type EventOf, eventType, refusal} from './event.ts'
import {RoomId} from './room.ts'
import {text} from './text.ts'
import {type Actor, UserId} from './user.ts'

export const MessageId = z.string().brand('MessageId')
export type MessageId = z.infer<typeof MessageId>

export const MessageContent = text({max: 4_000})
export const Nonce = text({max: 64})

/**
 * `seq` counts the room's messages from 0 without gaps; it need not be the revision, because other events will share the
 * stream. `nonce` is the sender's own word for the message, `key` what their Idempotency-Key made of the request: the same
 * one is the same message.
 */
export const MessageSent = eventType('MessageSent', {
  data: z.object({
    roomId: RoomId,
    messageId: MessageId,
    seq: z.int().nonnegative(),
    senderId: UserId,
    username: z.string(),
    isBot: z.boolean(),
    content: z.string(),
    nonce: z.string().nullable(),
    key: z.string().nullable(),
    sentAt: z.iso.datetime(),
  }),
  personal: {senderId: ['username', 'content']},
  plain: ['roomId', 'messageId', 'senderId', 'nonce', 'key', 'sentAt'],
  version: 2,
  // Nonces and keys were one field, told apart by what they began with.
  upcast: (data, version) => {
    if (version > 1) return data
    const {nonce, ...rest} = data as {nonce: string | null}
    const [kind, ...word] = nonce?.split(':') ?? []
    const mark = (wanted: string) => (kind === wanted ? word.join(':') : null)
    return {...rest, nonce: mark('nonce'), key: mark('key')}
  },
})

export type ChatEvent = EventOf<typeof MessageSent>

export type Message = ChatEvent['data']

/** By what a message is known again. Either may be null; a message with neither is never a repeat. */
export type Marks = Pick<Message, 'senderId' | 'nonce' | 'key'>

/** Whether the message was stored under one of these marks. */
export const bears = (message: Message, {senderId, nonce, key}: Marks): boolean =>
  message.senderId === senderId &&
  ((nonce !== null && message.nonce === nonce) || (key !== null && message.key === key))

/**
 * What the decider must know of a chat: how far it counted, and the newest messages, newest first. The list shares its
 * rest with the states before, so that a step costs the same however long it is.
 */
export type Chat = {lastSeq: number; recent: Recent | null}
type Recent = {message: Message; depth: number; rest: Recent | null}

/** The newest messages that a chat's state remembers, at least; at most twice as many. */
export const REMEMBERED = 64

export const emptyChat: Chat = {lastSeq: -1, recent: null}

export const evolveChat = ({recent}: Chat, {data}: ChatEvent): Chat => {
  const rest = recent && recent.depth >= REMEMBERED * 2 ? shortened(recent) : recent
  return {lastSeq: data.seq, recent: {message: data, depth: (rest?.depth ?? 0) + 1, rest}}
}

const shortened = (recent: Recent): Recent => {
  const newest: Message[] = []
  for (let at: Recent | null = recent; at && newest.length < REMEMBERED; at = at.rest) newest.push(at.message)
  return newest.reduceRight<Recent | null>((rest, message) => ({message, depth: (rest?.depth ?? 0) + 1, rest}), null)!
}

/** The message under these marks, and the lowest `seq` from which on the state can tell. */
export const recall = (chat: Chat, marks: Marks): {found: Message | null; from: number} => {
  let from = chat.lastSeq + 1
  for (let at = chat.recent; at; at = at.rest) {
    from = at.message.seq
    if (bears(at.message, marks)) return {found: at.message, from}
  }
  return {found: null, from}
}

/**
 * `earlier`: what this sender stored under one of the marks already. A nonce gives the first message again, whatever it
 * says; a key stands for the whole request, and is refused with another one.
 */
export const decideSend = (
  chat: Chat,
  by: Actor,
  message: Pick<Message, 'roomId' | 'messageId' | 'content' | 'nonce' | 'key' | 'sentAt'>,
  earlier: Pick<Message, 'content' | 'nonce' | 'key'> | null,
): Decision<ChatEvent> => {
  if (earlier) {
    const isSame = earlier.content === message.content && earlier.nonce === message.nonce
    return message.key === null || isSame ? [] : refusal({refused: 'IDEMPOTENCY_KEY_REUSED'})
  }
  const {userId: senderId, username, isBot} = by
  return [{type: 'MessageSent', data: {...message, seq: chat.lastSeq + 1, senderId, username, isBot}}]
}
