import {randomUUID} from 'node:crypto'
import {open} from 'node:fs/promises'
import {createServer} from 'node:http'
import {tmpdir} from 'node:os'
import {join} from 'node:path'
import {Server} from 'socket.io'
import {bare, optionsOf} from './middleware.ts'

/** Socket.IO, and nothing else: what is sent goes to the room. `durable`: after it was written to a file and fsynced. */
const {port, durable} = optionsOf<{durable: boolean}>()
const file = durable ? await open(join(tmpdir(), `community-bench-${port}`), 'a') : null
const server = createServer(bare())
const io = new Server(server, {serveClient: false})
let seq = 0
io.on('connection', (socket) => {
  socket.on('join_room', (roomId, reply) => {
    void socket.join(roomId)
    reply({ok: true})
  })
  socket.on('send_message', async ({roomId, content}, reply) => {
    const message = {
      id: `m-${randomUUID().replaceAll('-', '').slice(0, 26)}`,
      roomId,
      userId: `email_${'a'.repeat(26)}`,
      username: 'Person 1',
      content,
      createdAt: new Date().toISOString(),
      isBot: false,
      seq: seq++,
    }
    if (file) {
      await file.write(`${JSON.stringify(message)}\n`)
      await file.datasync()
    }
    io.to(roomId).emit('message', message)
    reply({ok: true, message, position: '1'})
  })
})
server.listen(port, '127.0.0.1', () => process.stdout.write('ready\n'))
