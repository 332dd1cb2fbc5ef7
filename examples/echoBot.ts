/**
 * A bot that answers every message that begins with "@echo", in every room, once: also those that were sent while it
 * was not running, and also where it is killed between an answer and its note of it.
 *
 *   CHAT_BOT_TOKEN=… node examples/echoBot.ts
 *
 * COMMUNITY_URL (http://localhost:3000) is the server, ECHO_BOT_FILE (.data/echoBot.json) where it notes how far it came.
 */
import {readFileSync, renameSync, writeFileSync} from 'node:fs'
import {io} from 'socket.io-client'

type Message = {id: string; roomId: string; username: string; content: string; isBot: boolean; seq: number}
type Room = {id: string; lastSeq: number}
type Failed = {ok: false; code: string; error: string}
type Joined = {ok: true; seq: number; truncated?: true} | Failed
type Notes = Record<string, number>

const {
  CHAT_BOT_TOKEN: botToken = '',
  COMMUNITY_URL: url = 'http://localhost:3000',
  ECHO_BOT_FILE: file = '.data/echoBot.json',
} = process.env
const botId = 'echo'

/** For each room the newest message that is dealt with. Null: the bot has never run. */
const readNotes = (): Notes | null => {
  try {
    return JSON.parse(readFileSync(file, 'utf8'))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw error
  }
}
let notes = readNotes()
const noted = (roomId: string): number => notes?.[roomId] ?? -1

const write = (changed: Notes): void => {
  writeFileSync(`${file}.new`, JSON.stringify(changed), {flush: true})
  renameSync(`${file}.new`, file)
  notes = changed
}

const note = (roomId: string, seq: number): void => {
  if (seq > noted(roomId)) write({...notes, [roomId]: seq})
}

const get = async (path: string): Promise<Response> => {
  const answer = await fetch(new URL(path, url), {headers: {authorization: `Bearer ${botToken}`, 'x-bot-id': botId}})
  if (!answer.ok) throw new Error(`${path}: ${await answer.text()}`)
  return answer
}

const listRooms = async (): Promise<Room[]> => {
  const rooms: Room[] = []
  for (let next: string | undefined = '/api/rooms'; next; ) {
    const page = await get(next)
    rooms.push(...((await page.json()) as {rooms: Room[]}).rooms)
    next = /<([^>]+)>; rel="next"/.exec(page.headers.get('link') ?? '')?.[1]
  }
  return rooms
}

const socket = io(url, {auth: {botToken, botId, botName: 'Echo'}})

const takeUp = async ({id, roomId, username, content, isBot, seq}: Message): Promise<void> => {
  if (seq <= noted(roomId)) return
  if (!isBot && content.startsWith('@echo')) {
    const answer = [...`${username}: ${content.slice(5).trim()}`].slice(0, 4_000).join('')
    // The same nonce is the same message, however often it is sent: the note may come too late, the answer never twice.
    const sent = await socket.timeout(10_000).emitWithAck('send_message', {roomId, content: answer, nonce: `to-${id}`})
    if (!sent.ok) throw new Error(sent.error)
  }
  note(roomId, seq)
}

// Each room's work in order, of this connection only. What fails ends the connection: the next begins after the last note.
const work = new Map<string, Promise<void>>()
const inOrder = (roomId: string, task: () => Promise<void>): Promise<void> => {
  const {id} = socket
  const isCurrent = () => socket.connected && socket.id === id
  const mine = (work.get(roomId) ?? Promise.resolve())
    .then(() => (isCurrent() ? task() : undefined))
    .catch((error: Error) => {
      process.stderr.write(`${error.message}\n`)
      if (isCurrent()) socket.io.engine.close()
    })
  work.set(roomId, mine)
  return mine
}

/** What the join replays and what comes live waits behind it, and behind the pages where a join does not replay so much. */
const enter = (roomId: string): Promise<void> =>
  inOrder(roomId, async () => {
    const joined: Joined = await socket.timeout(10_000).emitWithAck('join_room', roomId, {since: noted(roomId)})
    if (!joined.ok) throw new Error(joined.error)
    while (joined.truncated && noted(roomId) < joined.seq) {
      const page = await get(`/api/rooms/${roomId}/messages?limit=200&since=${noted(roomId)}`)
      for (const message of ((await page.json()) as {messages: Message[]}).messages) await takeUp(message)
    }
  })

/**
 * On its first start it leaves what was said before alone. All rooms are noted at once, also where there are none: one
 * that is not noted later on is a new one, which is answered from its beginning.
 */
const beginHere = async (): Promise<void> => {
  const rooms = await listRooms()
  if (!notes) write(Object.fromEntries(rooms.map(({id, lastSeq}) => [id, lastSeq])))
}

const enterAll = async (): Promise<void> => {
  const {id} = socket
  if (!notes) await beginHere()
  for (const room of await listRooms()) await enter(room.id)
  if (socket.id === id) process.stdout.write('listening\n')
}

socket.on('message', (message: Message) => void inOrder(message.roomId, () => takeUp(message)))
socket.on('room', ({kind, roomId}: {kind: string; roomId: string}) => {
  if (kind === 'created' && notes) void enter(roomId)
})
socket.on('connect', () => {
  enterAll().catch((error: Error) => {
    process.stderr.write(`${error.message}\n`)
    socket.io.engine.close()
  })
})
socket.on('connect_error', ({message}) => process.stderr.write(`${message}\n`))
