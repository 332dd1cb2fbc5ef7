import {type Chat, decideSend, type Message, type MessageId, recall} from '../domain/chat.ts'
import {isRefusal, type Refusal, refusal} from '../domain/event.ts'
import {isMember, type RoomId} from '../domain/room.ts'
import type {Actor, UserId} from '../domain/user.ts'
import {chatFold, chatStream, roomFold, roomStream} from '../streams/streams.ts'
import type {CommandContext, Execute} from './execute.ts'

/**
 * Where the same nonce of the same sender in the same room was stored already: first in the messages table, then in the
 * chat's newest events, which the state remembers, and where those two leave a gap, in the log between them. The exact
 * revision of the append closes what is left, so two nodes can't both store it. `upTo`: the newest seq of the table.
 */
export type FindNonce = {
  inTable(
    roomId: RoomId,
    senderId: UserId,
    nonce: string,
  ): Promise<{found: {message: Message; position: bigint} | null; upTo: number}>
  inLog(
    roomId: RoomId,
    senderId: UserId,
    nonce: string,
    range: {after: number; before: number},
  ): Promise<Message | null>
}

/** Nonces and Idempotency-Keys are looked up alike, and must not be taken for one another. */
export const storedNonce = (nonce: string | undefined): string | null => (nonce === undefined ? null : `nonce:${nonce}`)

export const sendMessage = async (
  {execute, findNonce}: {execute: Execute; findNonce: FindNonce},
  {
    by,
    roomId,
    messageId,
    content,
    nonce,
    sameContent = false,
  }: {by: Actor; roomId: RoomId; messageId: MessageId; content: string; nonce: string | null; sameContent?: boolean},
  context: Omit<CommandContext, 'name' | 'actor'>,
): Promise<{message: Message; position: bigint} | Refusal> => {
  const refused = await mayWrite(execute, roomId, by)
  if (refused) return refused
  const table = nonce === null ? null : await findNonce.inTable(roomId, by.userId, nonce)

  // The nonce is not on any message up to here, as the table and the log have it for good.
  let searched = table?.upTo ?? -1
  let stored = table?.found?.message ?? null
  const find = async (chat: Chat): Promise<Message | null> => {
    if (nonce === null || stored) return stored
    const {found, from} = recall(chat, by.userId, nonce)
    if (found || from <= searched + 1) return found
    stored = await findNonce.inLog(roomId, by.userId, nonce, {after: searched, before: from})
    searched = from - 1
    return stored
  }
  // Where the table is far behind, others that wait for the same append must not wait for the search as well.
  if (nonce !== null) await find((await execute.load(chatStream(roomId), chatFold)).state)

  let earlier: Message | null = null
  const sent = await execute.execute(
    chatStream(roomId),
    chatFold,
    {...context, name: 'sendMessage', actor: by.userId},
    async (chat) => {
      earlier = await find(chat)
      const sentAt = new Date().toISOString()
      return decideSend(chat, by, {roomId, messageId, content, nonce, sentAt, sameContent}, earlier)
    },
  )
  if (isRefusal(sent)) return sent
  const message = sent.events[0]?.data ?? (earlier as Message | null)
  if (!message) throw new Error('a message was sent and is not there')
  return {message, position: table?.found?.position ?? sent.position!}
}

/** A refusal is given only as the log has it now; a member is believed as the tail has it. */
const mayWrite = async (execute: Execute, roomId: RoomId, by: Actor): Promise<Refusal | null> => {
  const stream = roomStream(roomId)
  const may = (room: Parameters<typeof isMember>[0]) => room.kind === 'room' && (by.isBot || isMember(room, by.userId))
  if (may((await execute.load(stream, roomFold)).state)) return null
  const {state: room} = await execute.load(stream, roomFold, {fresh: true})
  if (may(room)) return null
  return refusal(room.kind === 'none' ? {refused: 'NOT_FOUND'} : {refused: 'NOT_A_MEMBER'})
}
