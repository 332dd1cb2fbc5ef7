import {type ChildProcess, spawn} from 'node:child_process'
import {existsSync} from 'node:fs'
import {mkdtemp, readFile, rm} from 'node:fs/promises'
import {tmpdir} from 'node:os'
import {join} from 'node:path'
import {fileURLToPath} from 'node:url'
import {afterEach, beforeEach, describe, expect, it} from 'vitest'
import {eventually} from '../support/eventually.ts'
import {numbered, roomOf, sendAll} from '../support/rooms.ts'
import {BOT_TOKEN, connect, type Person, signUp, startServer} from '../support/server.ts'

const BOT = fileURLToPath(new URL('../../examples/echoBot.ts', import.meta.url))
const running = new Set<ChildProcess>()
let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'community-bot-'))
})
afterEach(async () => {
  for (const bot of running) bot.kill('SIGKILL')
  await eventually(() => running.size === 0)
  await rm(folder, {recursive: true})
})

const notesFile = () => join(folder, 'echoBot.json')

const startBot = async (url: string, isStarted = (output: string) => output.includes('listening')) => {
  const env = {
    PATH: process.env.PATH,
    CHAT_BOT_TOKEN: BOT_TOKEN,
    COMMUNITY_URL: url,
    ECHO_BOT_FILE: notesFile(),
  }
  const bot = spawn(process.execPath, [BOT], {env, stdio: ['ignore', 'pipe', 'inherit']})
  running.add(bot)
  let output = ''
  bot.stdout.on('data', (chunk) => {
    output += chunk
  })
  const ended = new Promise<void>((resolve) => {
    bot.once('close', () => {
      running.delete(bot)
      resolve()
    })
  })
  await eventually(() => isStarted(output), {ms: 20_000, what: 'the bot to start'})
  return {
    kill: async () => {
      bot.kill('SIGKILL')
      await ended
    },
  }
}

const answersIn = async (reader: Person, roomId: string): Promise<string[]> => {
  const contents: string[] = []
  for (let since = -1; ; since += 200) {
    const {messages} = (await reader.get(`/api/rooms/${roomId}/messages?limit=200&since=${since}`)).body
    for (const {isBot, content} of messages) if (isBot) contents.push(content)
    if (messages.length < 200) return contents
  }
}

const ask = (contents: string[]) => contents.map((content) => `@echo ${content}`)

describe('examples/echoBot.ts', () => {
  it('answers each message once and in order, whenever it is killed and however much it missed', async () => {
    const server = await startServer()
    const ann = await signUp(server, {username: 'Ann'})
    const roomId = await roomOf(ann)
    const socket = await connect(ann)
    await sendAll(socket, roomId, ask(['from before there was a bot']))

    let bot = await startBot(server.url)
    await sendAll(socket, roomId, ['not for the bot', ...ask(numbered(40, 'live'))])
    await eventually(async () => (await answersIn(ann, roomId)).length > 5)
    await bot.kill()
    await sendAll(socket, roomId, ask(numbered(40, 'while away')))
    const newRoom = await roomOf(ann)
    await sendAll(socket, newRoom, ask(['in a new room']))

    bot = await startBot(server.url)
    await eventually(async () => (await answersIn(ann, roomId)).length > 50)
    await bot.kill()
    for (let sent = 0; sent < 1_100; sent += 100) await sendAll(socket, roomId, numbered(100, `idle ${sent}`))
    await sendAll(socket, roomId, ask(['after very much']))

    bot = await startBot(server.url)
    const expected = [...numbered(40, 'live'), ...numbered(40, 'while away'), 'after very much']
    await eventually(async () => (await answersIn(ann, roomId)).length >= expected.length, {ms: 40_000})
    const later = await roomOf(ann)
    await sendAll(socket, later, ask(['in a room that came while it listened']))
    await eventually(async () => (await answersIn(ann, later)).length > 0)
    expect(await answersIn(ann, roomId)).toEqual(expected.map((content) => `Ann: ${content}`))
    expect(await answersIn(ann, newRoom)).toEqual(['Ann: in a new room'])
    await bot.kill()
  }, 90_000)
  it('misses nothing after a first start on which there was no message, or no room', async () => {
    const server = await startServer()
    const ann = await signUp(server, {username: 'Ann'})
    const socket = await connect(ann)
    let bot = await startBot(server.url)
    await bot.kill()
    const room = await roomOf(ann)
    await sendAll(socket, room, ask(['in the first room']))

    bot = await startBot(server.url)
    await eventually(async () => (await answersIn(ann, room)).length > 0)
    await bot.kill()
    await rm(notesFile())
    const empty = await roomOf(ann)
    bot = await startBot(server.url)
    await bot.kill()
    await sendAll(socket, empty, ask(['while it was down']))
    const later = await roomOf(ann)
    await sendAll(socket, later, ask(['in a new room']))

    bot = await startBot(server.url)
    await eventually(async () => (await answersIn(ann, empty)).length + (await answersIn(ann, later)).length > 1)
    expect(await answersIn(ann, room)).toEqual(['Ann: in the first room'])
    expect(await answersIn(ann, empty)).toEqual(['Ann: while it was down'])
    expect(await answersIn(ann, later)).toEqual(['Ann: in a new room'])
    await bot.kill()
  }, 60_000)

  it('notes all rooms at once on its first start, and leaves what was said before alone when that is killed', async () => {
    const server = await startServer()
    const ann = await signUp(server, {username: 'Ann'})
    const socket = await connect(ann)
    const rooms = await Promise.all(numbered(60).map(() => roomOf(ann)))
    for (const room of rooms) await sendAll(socket, room, ask(['old']))
    let bot = await startBot(server.url, () => existsSync(notesFile()))
    await bot.kill()
    expect(JSON.parse(await readFile(notesFile(), 'utf8'))).toEqual(Object.fromEntries(rooms.map((room) => [room, 0])))

    bot = await startBot(server.url)
    await sendAll(socket, rooms[0]!, ask(['new']))
    await eventually(async () => (await answersIn(ann, rooms[0]!)).length > 0)
    const answers = await Promise.all(rooms.map((room) => answersIn(ann, room)))
    expect(answers.flat()).toEqual(['Ann: new'])
    await bot.kill()
  }, 60_000)
})
