import {describe, expect, it, onTestFinished} from 'vitest'
import {eventually} from '../support/eventually.ts'
import {expectSeqs, range, roomOf, sendAll, seqsOf} from '../support/rooms.ts'
import {connect, connectBot, signUp, startServer} from '../support/server.ts'
import {startTcpProxy} from '../support/tcpProxy.ts'

describe('isTooSlow and caughtUp', () => {
  it('drop a socket that does not read, keep the others, and let it resume no faster than it reads', async () => {
    const server = await startServer()
    const ann = await signUp(server)
    const roomId = await roomOf(ann)
    const proxy = await startTcpProxy(Number(new URL(server.url).port))
    onTestFinished(() => proxy.close())
    const transports = ['websocket']
    const throughProxy = {...ann, url: `http://127.0.0.1:${proxy.port}`}
    const slow = await connect(throughProxy, {transports})
    const [quick, sender] = [await connect(ann, {transports}), await connectBot(server)]
    for (const socket of [slow, quick]) await socket.ask('join_room', roomId)

    proxy.stall()
    // 16 KB each in UTF-8, 8,000 characters in memory.
    const large = Array<string>(100).fill('🌊'.repeat(4_000))
    const isDropped = () => server.logged.some((line) => line.includes('was dropped'))
    let sent = 0
    while (!isDropped() && sent < 4_000) {
      for (const answer of await sendAll(sender, roomId, large)) expect(answer).toMatchObject({ok: true})
      sent += large.length
    }
    expect(isDropped()).toBe(true)
    proxy.resume()
    await eventually(() => !slow.connected)
    await expectSeqs(quick, 0, sent)
    expect(seqsOf(slow)).toEqual(range(0, seqsOf(slow).length))

    const again = await connect(throughProxy, {transports})
    let isAnswered = false
    const joined = again.ask('join_room', roomId, {since: sent - 1_001}).finally(() => {
      isAnswered = true
    })
    await eventually(() => again.messages().length > 20)
    proxy.stall()
    // Written ahead, the replay and what comes live now would be more than a socket may have waiting.
    for (let more = 0; more < 3; more++) await sendAll(sender, roomId, large)
    expect(isAnswered).toBe(false)
    proxy.resume()
    expect(await joined).toMatchObject({ok: true, seq: sent - 1})
    await expectSeqs(again, sent - 1_000, sent + 300)
  }, 60_000)
})
