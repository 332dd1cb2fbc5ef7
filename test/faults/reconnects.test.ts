import {readFile} from 'node:fs/promises'
import {io} from 'socket.io-client'
import {expect, it, onTestFinished} from 'vitest'
import {eventually} from '../support/eventually.ts'
import {numbered, range, sendAll} from '../support/rooms.ts'
import {connectBot, type Person, signUp} from '../support/server.ts'
import {startTcpProxy} from '../support/tcpProxy.ts'
import {isLong} from './load.ts'
import {sharedEnv, startNode} from './nodes.ts'

const SOCKETS = isLong ? 2_000 : 250
const A_PERSON = 50
const MISSED = 20
const ROUNDS = isLong ? 5 : 2

it(`${SOCKETS} sockets come back at once to one node: none gets an error, all catch up, and memory is back at its level`, {
  timeout: isLong ? 600_000 : 60_000,
}, async () => {
  const {server} = await startNode(await sharedEnv())
  const proxy = await startTcpProxy(Number(new URL(server.url).port))
  onTestFinished(() => proxy.close())
  const people: Person[] = []
  for (let count = 0; count < SOCKETS / A_PERSON; count++) people.push(await signUp(server))
  const {room} = (await people[0]!.post('/api/rooms', {name: 'Square', visibility: 'open'})).body
  for (const person of people.slice(1)) expect((await person.post(`/api/rooms/${room.id}/join`)).status).toBe(200)
  const writer = await connectBot(server)

  const errors: unknown[] = []
  let joined = 0
  const openOne = (index: number) => {
    const cookie = [...people[index % people.length]!.cookies].map((pair) => pair.join('=')).join('; ')
    const socket = io(`http://127.0.0.1:${proxy.port}`, {
      forceNew: true,
      reconnectionDelay: 500,
      reconnectionDelayMax: 500,
      extraHeaders: {cookie},
      // Every second one begins with polling.
      ...(index % 2 ? {transports: ['websocket']} : {}),
    })
    const seqs: number[] = []
    let isJoined = false
    socket.on('connect', () => {
      socket.emit('join_room', room.id, {since: seqs.at(-1) ?? -1}, (answer: {ok: boolean}) => {
        if (!answer.ok) return void errors.push(answer)
        isJoined = true
        joined++
      })
    })
    socket.on('disconnect', () => {
      if (isJoined) joined--
      isJoined = false
    })
    socket.on('message', ({seq}: {seq: number}) => void seqs.push(seq))
    // Without data it is that the way is shut.
    socket.on('connect_error', (error: Error & {data?: object}) => error.data && errors.push(error.data))
    return {socket, seqs}
  }
  const sockets = range(0, SOCKETS).map(openOne)
  onTestFinished(() => {
    for (const {socket} of sockets) socket.disconnect()
  })
  const allJoined = () =>
    eventually(() => joined === SOCKETS || errors.length > 0, {what: 'all to be back', ms: 60_000})
  const residentMb = async () => {
    const status = await readFile(`/proc/${server.pid}/status`, 'utf8').catch(() => 'VmRSS: 1 kB')
    return Math.round(Number(/VmRSS:\s+(\d+) kB/.exec(status)![1]) / 1_024)
  }

  await allJoined()
  let sent = 0
  const levels: number[] = []
  const ms: number[] = []
  for (let round = 0; round < ROUNDS; round++) {
    proxy.shut()
    await eventually(() => joined === 0, {what: 'all to be away'})
    await sendAll(writer, room.id, numbered(MISSED, `round ${round}`))
    sent += MISSED
    const began = performance.now()
    proxy.resume()
    await allJoined()
    ms.push(Math.round(performance.now() - began))
    expect(errors.slice(0, 3)).toEqual([])
    await sendAll(writer, room.id, ['live'])
    sent++
    await eventually(() => sockets.every(({seqs}) => seqs.length >= sent), {what: 'all to have caught up', ms: 30_000})
    levels.push(await residentMb())
  }
  for (const {seqs} of sockets) expect(seqs).toEqual(range(0, sent))
  process.stdout.write(`${SOCKETS} sockets: all back after ${ms.join(', ')} ms; ${levels.join(', ')} MB\n`)
  // What is kept of each socket that ever was would be more with each round; what V8 has not swept yet is not.
  expect(levels.at(-1)! / levels[0]!).toBeLessThan(1.5)
  await server.end('SIGTERM')
})
