import {describe, expect, it} from 'vitest'
import {eventually} from '../support/eventually.ts'
import {connect, connectBot, signUp, startServer} from '../support/server.ts'

describe('the walk', () => {
  it('lets two people and a bot register, post, invite and chat', async () => {
    const server = await startServer()
    const ann = await signUp(server, {username: 'Ann'})
    const bob = await signUp(server, {username: 'Bob'})
    expect((await ann.get('/api/me')).body).toMatchObject({
      ok: true,
      user: {username: 'Ann', provider: 'email', email: ann.email},
    })

    const post = await ann.post('/api/posts', {title: 'Hello'})
    expect(post.body.post).toMatchObject({
      author_id: ann.id,
      author_name: 'Ann',
      title: 'Hello',
      body: '',
      attachments: [],
    })
    expect((await ann.get('/api/posts')).body).toEqual([post.body.post])

    const {room} = (await ann.post('/api/rooms', {name: 'Lobby'})).body
    expect(room).toMatchObject({name: 'Lobby', memberCount: 1, lastSeq: -1, lastMessage: null})
    expect((await bob.post(`/api/rooms/${room.id}/join`)).body.code).toBe('NOT_INVITED')
    expect((await ann.post(`/api/rooms/${room.id}/invite`, {userId: bob.email})).body).toEqual({ok: true})
    expect((await bob.get('/api/rooms')).body).toMatchObject({
      rooms: [],
      invitations: [{roomId: room.id, roomName: 'Lobby'}],
    })
    expect((await bob.post(`/api/rooms/${room.id}/join`)).body).toEqual({ok: true})
    expect((await bob.get('/api/rooms')).body).toMatchObject({rooms: [{id: room.id, memberCount: 2}], invitations: []})

    const sockets = [await connect(ann), await connect(bob), await connectBot(server, {botId: 'echo', botName: 'Echo'})]
    for (const socket of sockets) expect(await socket.ask('join_room', room.id)).toMatchObject({ok: true, seq: -1})
    const [annSocket, bobSocket, bot] = sockets
    expect(await annSocket!.ask('send_message', {roomId: room.id, content: 'hi'})).toMatchObject({
      ok: true,
      message: {seq: 0},
    })
    expect(await bobSocket!.ask('send_message', {roomId: room.id, content: 'hi Ann'})).toMatchObject({ok: true})
    await eventually(() => bot!.messages().length === 2)
    expect(await bot!.ask('send_message', {roomId: room.id, content: 'hi both'})).toMatchObject({
      ok: true,
      message: {isBot: true},
    })
    for (const socket of sockets) {
      await eventually(() => socket.messages().length === 3)
      expect(socket.messages().map(({seq, content}) => [seq, content])).toEqual([
        [0, 'hi'],
        [1, 'hi Ann'],
        [2, 'hi both'],
      ])
    }
    const read = (await bob.get(`/api/rooms/${room.id}`)).body
    expect(read.members.map(({username}: {username: string}) => username)).toEqual(['Ann', 'Bob', 'Echo'])
    expect(read.messages).toHaveLength(3)
  })
})
