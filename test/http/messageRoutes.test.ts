import {beforeAll, describe, expect, it} from 'vitest'
import {type Person, signUp} from '../support/server.ts'
import {sharedServer} from '../support/sharedServer.ts'

const server = sharedServer()
let ann: Person
beforeAll(async () => {
  ann = await signUp(server(), {username: 'Ann'})
})

const roomWith = async (count: number): Promise<string> => {
  const {id} = (await ann.post('/api/rooms', {name: 'Lobby'})).body.room
  for (let from = 0; from < count; from += 50) {
    const size = Math.min(50, count - from)
    await Promise.all(Array.from({length: size}, () => ann.post(`/api/rooms/${id}/messages`, {content: 'x'})))
  }
  return id
}
const range = (from: number, to: number) => Array.from({length: Math.max(0, to - from)}, (_, index) => from + index)

describe('sendMessage', () => {
  it('counts from 0 without gaps and shows each message as it answered', async () => {
    const roomId = await roomWith(0)
    const sent = []
    for (const content of ['one', ' two\n', '😀']) {
      const reply = await ann.post(`/api/rooms/${roomId}/messages`, {content})
      expect(reply.body).toEqual({
        ok: true,
        message: {
          id: expect.stringMatching(/^m-[a-z2-7]{26}$/),
          roomId,
          userId: ann.id,
          username: 'Ann',
          content,
          createdAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
          isBot: false,
          seq: sent.length,
        },
      })
      sent.push(reply.body.message)
    }
    expect((await ann.get(`/api/rooms/${roomId}/messages`)).body).toEqual({ok: true, messages: sent})
  })

  it('gives the first message again for the same nonce of the same sender in the same room', async () => {
    const [roomId, other] = [await roomWith(0), await roomWith(0)]
    const send = (room: string, content: string) => ann.post(`/api/rooms/${room}/messages`, {content, nonce: 'n'})
    const first = await send(roomId, 'first')
    const [second, third] = await Promise.all([send(roomId, 'first'), send(roomId, 'else')])
    expect([second.body, third.body]).toEqual([first.body, first.body])
    expect((await send(other, 'elsewhere')).body.message).toMatchObject({content: 'elsewhere', seq: 0})
    expect((await ann.get(`/api/rooms/${roomId}/messages`)).body.messages).toHaveLength(1)
  })
})

describe('listMessages', () => {
  it('shows the newest 50, or as many as are asked for, oldest first', async () => {
    const roomId = await roomWith(210)
    const seqs = async (query: string) => {
      const reply = await ann.get(`/api/rooms/${roomId}/messages${query}`)
      expect(reply.status, reply.text).toBe(200)
      return reply.body.messages.map(({seq}: {seq: number}) => seq)
    }
    expect(await seqs('')).toEqual(range(160, 210))
    expect(await seqs('?limit=1')).toEqual([209])
    expect(await seqs('?limit=200')).toEqual(range(10, 210))

    expect(await seqs('?before=100')).toEqual(range(50, 100))
    expect(await seqs('?before=100&limit=3')).toEqual([97, 98, 99])
    expect(await seqs('?before=2')).toEqual([0, 1])
    expect(await seqs('?before=0')).toEqual([])
    expect(await seqs('?before=-1')).toEqual([])
    expect(await seqs('?before=2147483647&limit=1')).toEqual([209])

    expect(await seqs('?since=-1')).toEqual(range(0, 50))
    expect(await seqs('?since=-1&limit=200')).toEqual(range(0, 200))
    expect(await seqs('?since=0&limit=2')).toEqual([1, 2])
    expect(await seqs('?since=207')).toEqual([208, 209])
    expect(await seqs('?since=209')).toEqual([])
    expect(await seqs('?since=2147483647')).toEqual([])

    for (const query of ['?since=1&before=5', '?since=-1&before=-1']) {
      const both = await ann.get(`/api/rooms/${roomId}/messages${query}`)
      expect([both.status, both.body.code, both.body.issues[0].path]).toEqual([400, 'INVALID', 'since'])
    }
  })
})
