import {type Chat, decideSend, type Marks, type Message, type MessageId, recall} from '../domain/chat.ts'
import {isRefusal, type Refusal, refusal} from '../domain/event.ts'
import {isMember, type RoomId} from '../domain/room.ts'
import type {Actor} from '../domain/user.ts'
import {chatFold, chatStream, roomFold, roomStream} from '../streams/streams.ts'
import type {CommandContext, Execute} from './execute.ts'

/**
 * Where a message of the same sender in the same room bears one of the marks already: first in the messages table, then in
 * the chat's newest events, which the state remembers, and where those two leave a gap, in the log between them. The exact
 * revision of the append closes what is left, so two nodes can't both store it. `upTo`: the newest seq of the table.
 */
export type FindMarked = {
  inTable(roomId: RoomId, marks: Marks): Promise<{found: {message: Message; position: bigint} | null; upTo: number}>
  inLog(roomId: RoomId, marks: Marks, range: {after: number; before: number}): Promise<Message | null>
}

export const sendMessage = async (
  {execute, findMarked}: {execute: Execute; findMarked: FindMarked},
  {
    by,
    roomId,
    messageId,
    content,
    nonce,
    key = null,
  }: {by: Actor; roomId: RoomId; messageId: MessageId; content: string; nonce: string | null; key?: string | null},
  context: Omit<CommandContext, 'name' | 'actor'>,
): Promise<{message: Message; position: bigint} | Refusal> => {
  const marks = {senderId: by.userId, nonce, key}
  const isMarked = nonce !== null || key !== null
  const table = isMarked ? await findMarked.inTable(roomId, marks) : null

  // The marks are not on any message up to here, as the table and the log have it for good.
  let searched = table?.upTo ?? -1
  let stored = table?.found?.message ?? null
  const find = async (chat: Chat): Promise<Message | null> => {
    if (!isMarked || stored) return stored
    const {found, from} = recall(chat, marks)
    if (found || from <= searched + 1) return found
    stored = await findMarked.inLog(roomId, marks, {after: searched, before: from})
    searched = from - 1
    return stored
  }
  // Where the table is far behind, others that wait for the same append must not wait for the search as well.
  const known = isMarked ? await find((await execute.load(chatStream(roomId), chatFold)).state) : null
  // A repeat is answered as the first time, also to who has left since.
  const refused = known ? null : await mayWrite(execute, roomId, by)
  if (refused) return refused

  let earlier: Message | null = null
  const sent = await execute.execute(
    chatStream(roomId),
    chatFold,
    {...context, name: 'sendMessage', actor: by.userId},
    async (chat) => {
      earlier = await find(chat)
      const sentAt = new Date().toISOString()
      return decideSend(chat, by, {roomId, messageId, content, nonce, key, sentAt}, earlier)
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
