import fc from 'fast-check'
import {beforeAll, describe, expect, it} from 'vitest'
import {createPost} from '../../src/commands/createPost.ts'
import {createRoom} from '../../src/commands/createRoom.ts'
import {inviteUser} from '../../src/commands/inviteUser.ts'
import {joinRoom} from '../../src/commands/joinRoom.ts'
import {leaveRoom} from '../../src/commands/leaveRoom.ts'
import {sendMessage} from '../../src/commands/sendMessage.ts'
import type {PostId} from '../../src/domain/post.ts'
import type {RoomId} from '../../src/domain/room.ts'
import type {Actor} from '../../src/domain/user.ts'
import {newMessageId, newPostId, newRoomId} from '../../src/keys/ids.ts'
import {messages} from '../../src/projections/messages.ts'
import {posts} from '../../src/projections/posts.ts'
import {roomInvitations} from '../../src/projections/roomInvitations.ts'
import {roomMembers} from '../../src/projections/roomMembers.ts'
import {rooms} from '../../src/projections/rooms.ts'
import {beganAtIn} from '../../src/streams/beganAt.ts'
import {attempted, claimed} from '../support/events.ts'
import {type Feeder, type Node, overEachLog, type Place} from '../support/place.ts'
import {bot, person} from '../support/specification.ts'

/** The rules once more, as plainly as they can be said: what every log and every node must come to. */
type ModelRoom = {
  name: string
  visibility: 'invite' | 'open'
  createdBy: string
  members: string[]
  invitations: Set<string>
  messages: {by: string; content: string; nonce: string | null}[]
}
type Model = {posts: Map<number, {by: string; title: string}>; rooms: Map<number, ModelRoom>}
/** What a command comes to: done, refused, or a message with its seq. */
type Outcome = string

const PEOPLE: Actor[] = [person('Ann'), person('Bob'), person('Eve'), bot('Echo')]
/** Registered and never verified, so has claimed no identity; may be invited all the same. */
const STRANGER = person('Stranger')
const INVITEES = [...PEOPLE.slice(0, 3), STRANGER]

type Real = {
  place: Place
  nodes: Node[]
  roomIds: RoomId[]
  postIds: PostId[]
}
const context = {correlationId: 'model'}
const outcomeOf = (result: object): Outcome => ('refused' in result ? String(result.refused) : 'done')

type Step = {model: (model: Model) => Outcome; real: (real: Real) => Promise<Outcome>; says: string}

const anyNode = fc.nat({max: 1})
const anybody = fc.constantFrom(...PEOPLE)
const anyRoom = fc.nat({max: 1})

const postStep = fc.tuple(anyNode, anybody, fc.nat({max: 1}), fc.constantFrom('Hello', 'Bye')).map(
  ([node, by, index, title]): Step => ({
    says: `${by.username} posts ${title} as ${index}`,
    model: ({posts}) => {
      const there = posts.get(index)
      if (there) return there.title === title ? 'done' : 'IDEMPOTENCY_KEY_REUSED'
      posts.set(index, {by: by.userId, title})
      return 'done'
    },
    real: async ({place, nodes, postIds}) => {
      const {execute} = nodes[node]!
      const content = {title, body: '', attachments: []}
      const post = {by, postId: postIds[index]!, content}
      return outcomeOf(await createPost({execute, beganAt: beganAtIn(place)}, post, context))
    },
  }),
)

const roomStep = fc
  .tuple(
    anyNode,
    anybody,
    anyRoom,
    fc.constantFrom('Lobby', 'Hall'),
    fc.constantFrom('invite' as const, 'open' as const),
  )
  .map(
    ([node, by, index, name, visibility]): Step => ({
      says: `${by.username} makes room ${index}, ${visibility} ${name}`,
      model: ({rooms}) => {
        const there = rooms.get(index)
        if (there) return there.name === name && there.visibility === visibility ? 'done' : 'IDEMPOTENCY_KEY_REUSED'
        const empty = {invitations: new Set<string>(), messages: []}
        rooms.set(index, {name, visibility, createdBy: by.userId, members: [by.userId], ...empty})
        return 'done'
      },
      real: async ({place, nodes, roomIds}) => {
        const {execute} = nodes[node]!
        const room = {by, roomId: roomIds[index]!, name, visibility}
        return outcomeOf(await createRoom({execute, beganAt: beganAtIn(place)}, room, context))
      },
    }),
  )

const inviteStep = fc.tuple(anyNode, anybody, anyRoom, fc.constantFrom(...INVITEES), fc.boolean()).map(
  ([node, by, index, whom, byId]): Step => ({
    says: `${by.username} invites ${whom.username} to room ${index}${byId ? ' by id' : ''}`,
    model: ({rooms}) => {
      const room = rooms.get(index)
      if (!room) return 'NOT_FOUND'
      if (!room.members.includes(by.userId) && !by.isBot) return 'NOT_A_MEMBER'
      if (!room.members.includes(whom.userId)) room.invitations.add(whom.identity!)
      return 'done'
    },
    real: async ({nodes, roomIds}) => {
      const named = byId ? {userId: whom.userId} : {identity: whom.identity!}
      const invitation = {by, roomId: roomIds[index]!, whom: named}
      return outcomeOf(await inviteUser({execute: nodes[node]!.execute}, invitation, context))
    },
  }),
)

const joinStep = fc.tuple(anyNode, anybody, anyRoom).map(
  ([node, by, index]): Step => ({
    says: `${by.username} joins room ${index}`,
    model: ({rooms}) => {
      const room = rooms.get(index)
      if (!room) return 'NOT_FOUND'
      if (room.members.includes(by.userId)) return 'done'
      const invited = by.identity !== null && room.invitations.has(by.identity)
      if (room.visibility === 'invite' && !invited && !by.isBot) return 'NOT_INVITED'
      if (invited) room.invitations.delete(by.identity!)
      room.members.push(by.userId)
      return 'done'
    },
    real: async ({nodes, roomIds}) =>
      outcomeOf(await joinRoom({execute: nodes[node]!.execute}, {by, roomId: roomIds[index]!}, context)),
  }),
)

const leaveStep = fc.tuple(anyNode, anybody, anyRoom).map(
  ([node, by, index]): Step => ({
    says: `${by.username} leaves room ${index}`,
    model: ({rooms}) => {
      const room = rooms.get(index)
      if (!room) return 'NOT_FOUND'
      if (room.members.includes(by.userId)) {
        room.members = room.members.filter((userId) => userId !== by.userId)
        return 'done'
      }
      return by.identity !== null && room.invitations.delete(by.identity) ? 'done' : 'NOT_A_MEMBER'
    },
    real: async ({nodes, roomIds}) =>
      outcomeOf(await leaveRoom({execute: nodes[node]!.execute}, {by, roomId: roomIds[index]!}, context)),
  }),
)

const sendStep = fc
  .tuple(anyNode, anybody, anyRoom, fc.constantFrom('hi', 'ho'), fc.constantFrom(null, null, 'n', 'm'))
  .map(
    ([node, by, index, content, nonce]): Step => ({
      says: `${by.username} says ${content} in room ${index}${nonce ? ` as ${nonce}` : ''}`,
      model: ({rooms}) => {
        const room = rooms.get(index)
        if (!room) return 'NOT_FOUND'
        const first = room.messages.findIndex((one) => nonce !== null && one.nonce === nonce && one.by === by.userId)
        // A repeat is answered as the first time, also to who has left.
        if (first < 0 && !room.members.includes(by.userId) && !by.isBot) return 'NOT_A_MEMBER'
        const seq = first >= 0 ? first : room.messages.push({by: by.userId, content, nonce}) - 1
        return `${seq} ${room.messages[seq]!.content}`
      },
      real: async ({place, nodes, roomIds}) => {
        // Who may write is believed as the node's tail has it.
        await nodes[node]!.tail.reached((await place.log.head())!, 10_000)
        const said = {by, roomId: roomIds[index]!, messageId: newMessageId(), content, nonce}
        const result = await sendMessage(nodes[node]!, said, context)
        return 'refused' in result ? result.refused : `${result.message.seq} ${result.message.content}`
      },
    }),
  )

const step = fc.oneof(
  {weight: 1, arbitrary: postStep},
  {weight: 3, arbitrary: roomStep},
  {weight: 3, arbitrary: inviteStep},
  {weight: 4, arbitrary: joinStep},
  {weight: 2, arbitrary: leaveStep},
  {weight: 6, arbitrary: sendStep},
)
const steps = fc.array(
  step.map((one) => ({...one, toString: () => one.says})),
  {minLength: 1, maxLength: 40, size: 'max'},
)

describe('a community', () => {
  overEachLog((here) => {
    let feeder: Feeder
    let nodes: Node[]
    beforeAll(async () => {
      feeder = await here.place.startFeeder()
      nodes = [await here.place.startNode({follow: true}), await here.place.startNode({follow: true})]
      for (const {userId, identity, isBot, username} of PEOPLE) {
        if (!isBot) await here.place.given(attempted(userId, identity!, {username}), claimed(identity!, userId))
      }
      await here.place.given(attempted(STRANGER.userId, STRANGER.identity!, {username: 'Stranger'}))
      await feeder.caughtUp()
    })

    const asTheTablesHaveIt = async ({roomIds, postIds}: Real): Promise<object> => {
      const rowsOf = async (text: string, ids: string[]) => (await here.place.pool.query(text, [ids])).rows
      const found = {
        posts: await rowsOf(`SELECT id, author_id, title FROM ${posts.view} WHERE id = ANY($1)`, postIds),
        rooms: await rowsOf(`SELECT * FROM ${rooms.view} WHERE room_id = ANY($1)`, roomIds),
        members: await rowsOf(`SELECT * FROM ${roomMembers.view} WHERE room_id = ANY($1) ORDER BY position`, roomIds),
        invitations: await rowsOf(
          `SELECT room_id, invitee FROM ${roomInvitations.view} WHERE room_id = ANY($1)`,
          roomIds,
        ),
        messages: await rowsOf(`SELECT * FROM ${messages.view} WHERE room_id = ANY($1) ORDER BY seq`, roomIds),
      }
      return {
        posts: postIds.map((postId) => {
          const post = found.posts.find(({id}) => id === postId)
          return post ? {by: post.author_id, title: post.title} : null
        }),
        rooms: roomIds.map((roomId) => {
          const room = found.rooms.find(({room_id}) => room_id === roomId)
          const of = (rows: {room_id: string; [column: string]: unknown}[]) =>
            rows.filter((row) => row.room_id === roomId)
          return room
            ? {
                name: room.name,
                visibility: room.visibility,
                createdBy: room.created_by,
                counts: [room.member_count, room.last_seq],
                members: of(found.members).map(({user_id}) => user_id),
                invitations: of(found.invitations)
                  .map(({invitee}) => invitee)
                  .sort(),
                messages: of(found.messages).map(({seq, user_id, content, nonce}) => ({
                  seq,
                  by: user_id,
                  content,
                  nonce,
                })),
              }
            : null
        }),
      }
    }

    const asTheModelHasIt = (model: Model, {roomIds, postIds}: Real): object => ({
      posts: postIds.map((_, index) => model.posts.get(index) ?? null),
      rooms: roomIds.map((_, index) => {
        const room = model.rooms.get(index)
        return room
          ? {
              name: room.name,
              visibility: room.visibility,
              createdBy: room.createdBy,
              counts: [room.members.length, room.messages.length - 1],
              members: room.members,
              invitations: [...room.invitations].sort(),
              messages: room.messages.map((message, seq) => ({seq, ...message})),
            }
          : null
      }),
    })

    it('comes to what the rules say, whichever node carries out which command, and so do its tables', async () => {
      await fc.assert(
        fc.asyncProperty(steps, async (given) => {
          const real: Real = {
            place: here.place,
            nodes,
            roomIds: [newRoomId(), newRoomId()],
            postIds: [newPostId(), newPostId()],
          }
          const model: Model = {posts: new Map(), rooms: new Map()}
          for (const one of given) {
            const expected = one.model(model)
            expect([one.says, await one.real(real)]).toEqual([one.says, expected])
          }
          await feeder.caughtUp()
          expect(await asTheTablesHaveIt(real)).toEqual(asTheModelHasIt(model, real))
        }),
        {numRuns: 50, interruptAfterTimeLimit: 9_000, markInterruptAsFailure: false},
      )
    })
  })
})
