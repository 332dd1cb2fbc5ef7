import {Client} from 'pg'
import {afterAll, beforeAll, describe, expect, it} from 'vitest'
import {eventually} from '../support/eventually.ts'
import {connect, connectBot, signUp, startServer, type TestServer, type TestSocket, visit} from '../support/server.ts'

let server: TestServer
let other: TestServer
beforeAll(async () => {
  server = await startServer({}, {shared: true})
  other = await startServer(server.env, {shared: true})
})
afterAll(async () => {
  await Promise.all([server.stop(), other.stop()])
})
const onOther = <Who extends {url: string}>(who: Who): Who => ({...who, url: other.url})

const closed = (socket: TestSocket) => eventually(() => !socket.connected, {what: 'the socket to be closed', ms: 3_000})

describe('openSignedOut', () => {
  it('closes the sockets of a session that is signed out, on every node, and no others', async () => {
    const [ann, bob] = [await signUp(server, {password: 'secret one'}), await signUp(server)]
    const elsewhere = visit(server.url)
    await elsewhere.post('/api/email/login', {email: ann.email, password: 'secret one'})
    const over = [
      await connect(ann),
      await connect(onOther(ann)),
      await connect(onOther(ann), {transports: ['polling']}),
    ]
    const staying = [await connect(elsewhere), await connect(onOther(bob)), await connectBot(server)]
    const reasons: string[] = []
    for (const socket of over) socket.on('disconnect', (reason) => reasons.push(reason))
    const cookies = new Map(ann.cookies)
    await ann.get('/api/logout')
    const began = performance.now()
    for (const socket of over) await closed(socket)
    expect(performance.now() - began).toBeLessThan(1_000)
    // A client does not try again by itself after this one.
    expect(reasons).toEqual(Array(3).fill('io server disconnect'))
    await expect(connect({url: server.url, cookies})).rejects.toThrow('NOT_SIGNED_IN')
    for (const socket of staying) expect((await socket.ask('nonsense')).code).toBe('NOT_FOUND')
  })

  it('closes the sockets of whoever is erased, on every node, and no others', async () => {
    const [ann, bob] = [await signUp(server, {password: 'secret one'}), await signUp(server)]
    const over = [
      await connect(ann),
      await connect(onOther(ann)),
      await connect(onOther(ann), {transports: ['polling']}),
    ]
    const staying = await connect(onOther(bob))
    let closedAt = 0
    for (const socket of over)
      socket.on('disconnect', () => {
        closedAt = performance.now()
      })
    expect((await ann.request('DELETE', '/api/me', {password: 'secret one'})).status).toBe(200)
    const answeredAt = performance.now()
    for (const socket of over) await closed(socket)
    expect(closedAt - answeredAt).toBeLessThan(1_000)
    expect((await staying.ask('nonsense')).code).toBe('NOT_FOUND')
  })

  it('closes sockets that were connecting while their session ended', async () => {
    for (let round = 0; round < 4; round++) {
      const ann = await signUp(server)
      const before = {url: other.url, cookies: new Map(ann.cookies)}
      const connecting = Array.from({length: 45}, () => connect(before, {transports: ['websocket']}))
      const [answers] = await Promise.all([Promise.allSettled(connecting), ann.get('/api/logout')])
      for (const answer of answers) {
        if (answer.status === 'fulfilled') await closed(answer.value)
        else expect(answer.reason.message).toBe('NOT_SIGNED_IN')
      }
    }
  })

  it('makes up for what it missed while the database was away', async () => {
    const ann = await signUp(server)
    const socket = await connect(ann)
    const database = new Client({connectionString: server.databaseUrl})
    await database.connect()
    try {
      // In one statement, so that no listener can be back before the session is gone.
      await database.query(`
        WITH gone AS (
          SELECT pg_terminate_backend(pid) FROM pg_stat_activity
          WHERE application_name = 'community session listener' AND datname = current_database()
        )
        SELECT count(*) FROM gone;
        DELETE FROM state.sessions WHERE sess->>'userId' = '${ann.id}'`)
    } finally {
      await database.end()
    }
    await closed(socket)
  })
})
