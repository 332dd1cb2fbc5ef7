import {afterAll, beforeAll, describe, expect, it} from 'vitest'
import {newPostId, newRoomId, newUserId} from '../../src/keys/ids.ts'
import {findMarked, listMessages} from '../../src/projections/messages.ts'
import {findPost, listPosts} from '../../src/projections/posts.ts'
import {listInvitations} from '../../src/projections/roomInvitations.ts'
import {listMembers} from '../../src/projections/roomMembers.ts'
import {findRoom, type ListedRoom, listAllRooms, listOpenRooms, listRoomsOf} from '../../src/projections/rooms.ts'
import {findOpenAttempts, findUser} from '../../src/projections/users.ts'
import {attempted, claimed, declined, invited, joined, left, postCreated, roomCreated, sent} from '../support/events.ts'
import {type Feeder, openPlace, type Place} from '../support/place.ts'
import {bot, identityOf, person} from '../support/specification.ts'

let place: Place
let feeder: Feeder
beforeAll(async () => {
  place = await openPlace()
  feeder = await place.startFeeder()
})
afterAll(() => place.close())

/** These happen, each by itself, and the tables hold them. Gives their positions. */
const happen = async (...events: Parameters<Place['given']>): Promise<bigint[]> => {
  const positions: bigint[] = []
  for (const event of events) {
    await place.given(event)
    positions.push((await place.log.head())!)
  }
  await feeder.caughtUp()
  return positions
}
const ann = person('Ann')
const bob = person('Bob')
const all = {before: null, limit: 100}
const reader = ({userId}: {userId: string}) => ({userId, isBot: false, unstored: {}})

describe('users', () => {
  const identity = identityOf('a user')

  it('knows a person from the claim on; before, there are only attempts, newest first', async () => {
    const [first, second] = [newUserId('email'), newUserId('email')]
    await happen(
      attempted(first, identity, {username: 'First'}),
      attempted(second, identity, {username: 'Second', passwordHash: null}),
    )
    expect(await findUser(place.pool, first)).toBeNull()
    expect(await findOpenAttempts(place.pool, identity)).toEqual([
      {userId: second, hasPassword: false},
      {userId: first, hasPassword: true},
    ])
    await happen(claimed(identity, first))
    expect(await findUser(place.pool, first)).toEqual({
      userId: first,
      identity,
      provider: 'email',
      email: 'first@example.com',
      username: 'First',
    })
    expect(await findUser(place.pool, second)).toBeNull()
    expect(await findOpenAttempts(place.pool, identity)).toEqual([])
  })
})

describe('posts', () => {
  it('lists posts newest first, in pages that neither skip nor repeat', async () => {
    const ids = [newPostId(), newPostId(), newPostId()]
    const content = {title: 'Hello', body: 'all', attachments: ['https://a.example/1', 'https://a.example/2']}
    const positions = await happen(...ids.map((id) => postCreated(id, ann, content)))
    const rows = await listPosts(place.pool, {limit: 100, bytes: 1_000_000})
    expect(rows.map(({id}) => id)).toEqual(ids.toReversed())
    expect(rows[0]).toMatchObject({author_id: ann.userId, author_name: 'Ann', ...content, position: `${positions[2]}`})
    const page = await listPosts(place.pool, {before: positions[2]!, limit: 1, bytes: 1_000_000})
    expect(page.map(({id}) => id)).toEqual([ids[1]])
    expect(await findPost(place.pool, ids[0]!)).toEqual(rows[2])
    expect(await findPost(place.pool, 'u-none')).toBeNull()
    const record = await place.log.readAt(positions[2]!)
    expect(rows[0]!.created_at.toISOString()).toBe(record!.metadata.time)
  })
})

describe('rooms', () => {
  it('counts members and messages, and shows the newest one', async () => {
    const roomId = newRoomId()
    const [position] = await happen(roomCreated(roomId, ann), joined(roomId, ann))
    const record = await place.log.readAt(position!)
    expect(await findRoom(place.pool, reader(ann), roomId)).toEqual({
      isMember: true,
      position: `${position}`,
      room: {
        id: roomId,
        name: 'Lobby',
        visibility: 'invite',
        createdBy: ann.userId,
        createdAt: record!.metadata.time,
        memberCount: 1,
        lastSeq: -1,
        lastMessage: null,
        readSeq: -1,
      },
    })
    await happen(joined(roomId, bob), sent(roomId, 0, ann), sent(roomId, 1, bob), left(roomId, bob))
    const ofNoMember = await findRoom(place.pool, reader(bob), roomId)
    expect(ofNoMember).toMatchObject({
      isMember: false,
      room: {memberCount: 1, lastSeq: 1, lastMessage: null, readSeq: null},
    })
    const {messageId} = sent(roomId, 1, bob).data
    const ofMember = await findRoom(place.pool, {...reader(ann), unstored: {[roomId]: 1}}, roomId)
    expect(ofMember!.room.readSeq).toBe(1)
    expect(ofMember!.room.lastMessage).toEqual({
      id: messageId,
      roomId,
      userId: bob.userId,
      username: 'Bob',
      content: 'message 1',
      createdAt: '2025-01-01T00:00:00.000Z',
      isBot: false,
      seq: 1,
    })
    expect(await findRoom(place.pool, reader(ann), 'r-none')).toBeNull()
  })

  it('lists the rooms of a person, the open ones, and all, newest first', async () => {
    const eve = person(`Eve ${newRoomId()}`)
    const [mine, open, closed] = [newRoomId(), newRoomId(), newRoomId()]
    await happen(
      roomCreated(mine, ann),
      joined(mine, eve),
      roomCreated(open, ann, {visibility: 'open'}),
      joined(open, eve),
      roomCreated(closed, ann),
    )
    const ids = (rows: ListedRoom[]) => rows.map(({room}) => room.id)
    expect(ids(await listRoomsOf(place.pool, reader(eve), all))).toEqual([open, mine])
    expect((await listOpenRooms(place.pool, reader(eve), all))[0]!.room).toMatchObject({id: open, readSeq: -1})
    expect((await listOpenRooms(place.pool, reader(bob), all))[0]!.room).toMatchObject({id: open, readSeq: null})
    expect(ids(await listAllRooms(place.pool, reader(eve), {before: null, limit: 3}))).toEqual([closed, open, mine])
  })
})

describe('roomMembers', () => {
  it('lists members in the order of joining; who comes back is the last', async () => {
    const roomId = newRoomId()
    const echo = bot('Echo')
    await happen(roomCreated(roomId, ann), joined(roomId, ann), joined(roomId, bob), joined(roomId, echo))
    const names = async (after: bigint | null = null) =>
      (await listMembers(place.pool, roomId, {after, limit: 10})).map(({username}) => username)
    expect(await names()).toEqual(['Ann', 'Bob', 'Echo'])
    await happen(left(roomId, ann), joined(roomId, {...ann, username: 'Anna'}))
    expect(await names()).toEqual(['Bob', 'Echo', 'Anna'])
    const members = await listMembers(place.pool, roomId, {after: null, limit: 2})
    expect(members.map(({isBot}) => isBot)).toEqual([false, true])
    expect(await names(BigInt(members[1]!.position))).toEqual(['Anna'])
  })
})

describe('roomInvitations', () => {
  it('lists open invitations newest first, until they are used up or declined', async () => {
    const guest = person(`Guest ${newRoomId()}`)
    const [first, second, third] = [newRoomId(), newRoomId(), newRoomId()]
    for (const roomId of [first, second, third]) {
      await happen(roomCreated(roomId, ann), joined(roomId, ann), invited(roomId, guest.identity!, ann))
    }
    const open = async () => (await listInvitations(place.pool, guest.identity!)).map(({roomId}) => roomId)
    expect(await open()).toEqual([third, second, first])
    expect((await listInvitations(place.pool, guest.identity!))[0]).toMatchObject({
      roomId: third,
      roomName: 'Lobby',
      inviterId: ann.userId,
      inviterName: 'Ann',
    })
    await happen(joined(third, guest, guest.identity), declined(second, guest))
    expect(await open()).toEqual([first])
  })
})

describe('messages', () => {
  it('lists messages oldest first: the newest, those before and those since a seq', async () => {
    const roomId = newRoomId()
    await happen(...Array.from({length: 6}, (_, seq) => sent(roomId, seq, seq % 2 ? bob : ann)))
    const seqs = async (page: Parameters<typeof listMessages>[2]) =>
      (await listMessages(place.pool, roomId, page)).map(({seq}) => seq)
    expect(await seqs({limit: 4})).toEqual([2, 3, 4, 5])
    expect(await seqs({limit: 2, before: 4})).toEqual([2, 3])
    expect(await seqs({limit: 2, since: 1})).toEqual([2, 3])
    expect(await seqs({limit: 2, since: -1})).toEqual([0, 1])
    expect(await seqs({limit: 2, before: 0})).toEqual([])
    expect((await listMessages(place.pool, roomId, {limit: 1}))[0]).toEqual({
      id: sent(roomId, 5, bob).data.messageId,
      roomId,
      userId: bob.userId,
      username: 'Bob',
      content: 'message 5',
      createdAt: '2025-01-01T00:00:00.000Z',
      isBot: false,
      seq: 5,
    })
  })

  it('finds a nonce of its sender in its room, and says up to which seq it looked', async () => {
    const roomId = newRoomId()
    const find = (who = ann, nonce = 'n') => findMarked(place.pool, roomId, {senderId: who.userId, nonce, key: null})
    expect(await find()).toEqual({found: null, upTo: -1})
    const message = sent(roomId, 0, ann, {nonce: 'n'})
    const [position] = await happen(message, sent(roomId, 1, bob))
    expect(await find()).toEqual({found: {message: message.data, position}, upTo: 1})
    expect(await find(bob)).toEqual({found: null, upTo: 1})
    expect(await find(ann, 'm')).toEqual({found: null, upTo: 1})
  })
})
