import {randomUUID} from 'node:crypto'
import {describe, expect, it} from 'vitest'
import {type Erasure, eraseAttempt, eraseUser} from '../../src/commands/eraseUser.ts'
import type {IdentityHash} from '../../src/domain/identity.ts'
import type {UserId} from '../../src/domain/user.ts'
import {newRoomId, newUserId} from '../../src/keys/ids.ts'
import {attempted, claimed, declined, invited, joined, left, roomCreated, verified} from '../support/events.ts'
import {overEachLog} from '../support/place.ts'
import {person} from '../support/specification.ts'

const context = {actor: null, correlationId: 'request'}
const STEPS = [
  'destroy',
  'append to user',
  'endSessions',
  'roomsOf',
  'append to room',
  'attemptsBeside',
  'deleteUploads',
  'deleteMails',
  'append to identity',
  'dropReplays',
  'markErased',
] as const
type Step = (typeof STEPS)[number]

const released = (identity: IdentityHash, userId: UserId) => ({
  type: 'IdentityReleased' as const,
  data: {identity, userId},
})
const erased = (userId: UserId) => ({type: 'UserErased' as const, data: {userId}})

describe('eraseUser', () => {
  overEachLog((here) => {
    /** What an erasure is made of, over the real log and keys. `failing`: the step that a crash cuts off. */
    const erasureOf = ({
      rooms = [],
      attempts = [],
      failing = null,
    }: {
      rooms?: Awaited<ReturnType<Erasure['roomsOf']>>
      attempts?: UserId[]
      failing?: Step | null
    }) => {
      const done: Step[] = []
      const step = async (name: Step) => {
        if (name === failing) throw new Error('cut off')
        if (done.at(-1) !== name) done.push(name)
      }
      const {execute} = here.node
      const {personKeys} = here.place
      const erasure: Erasure = {
        execute: {
          ...execute,
          execute: async (stream, ...rest) => {
            await step(`append to ${stream.split('-')[0]}` as Step)
            return execute.execute(stream, ...rest)
          },
        },
        personKeys: {
          destroy: async (who) => {
            await step('destroy')
            await personKeys.destroy(who)
          },
          markErased: async (who) => {
            await step('markErased')
            await personKeys.markErased(who)
          },
        },
        roomsOf: async () => {
          await step('roomsOf')
          return rooms
        },
        attemptsBeside: async () => {
          await step('attemptsBeside')
          return attempts
        },
        endSessions: () => step('endSessions'),
        deleteUploads: () => step('deleteUploads'),
        deleteMails: () => step('deleteMails'),
        dropReplays: () => step('dropReplays'),
      }
      return {erasure, done}
    }
    const keyOf = async (userId: UserId) => (await here.place.personKeys.find([userId])).get(userId)
    const isMarked = async (userId: UserId) => {
      const {rows} = await here.place.pool.query('SELECT erased_at FROM keys.people WHERE person = $1', [userId])
      return rows[0].erased_at !== null
    }

    /** Ann, in one room and invited to another. */
    const ann = async () => {
      const userId = newUserId('email')
      const identity = randomUUID() as string as IdentityHash
      const actor = {userId, identity, username: 'Ann', isBot: false}
      const [isIn, isInvited, other] = [newRoomId(), newRoomId(), newRoomId()]
      const bob = person('Bob')
      await here.place.given(attempted(userId, identity), claimed(identity, userId))
      await here.place.given(roomCreated(isIn, bob), joined(isIn, bob), joined(isIn, actor))
      await here.place.given(roomCreated(other, bob), joined(other, bob))
      await here.place.given(roomCreated(isInvited, bob), joined(isInvited, bob), invited(isInvited, identity, bob))
      const gone = {...actor, username: '[erased]'}
      const events = [erased(userId), left(isIn, gone), declined(isInvited, actor), released(identity, userId)]
      return {userId, identity, actor, bob, rooms: [isIn, isInvited, other], isInvited, events}
    }

    it('destroys the key, says so, takes the person out of every room and lets the address go', async () => {
      const {userId, rooms, events} = await ann()
      const {erasure, done} = erasureOf({rooms})
      const result = await eraseUser(erasure, userId, context)
      const [first] = await here.place.logged()
      expect(result).toEqual({position: first!.position})
      expect(await here.place.happened()).toEqual(events)
      expect(done).toEqual(STEPS.flatMap((step) => (step === 'attemptsBeside' ? ['endSessions', step] : [step])))
      expect(await keyOf(userId)).toBeNull()
    })

    it.each(STEPS)('is finished by the next run when a crash cuts it off before %s', async (failing) => {
      const {userId, rooms, events} = await ann()
      await expect(eraseUser(erasureOf({rooms, failing}).erasure, userId, context)).rejects.toThrow('cut off')
      expect(failing === 'destroy' || !(await isMarked(userId))).toBe(true)
      await eraseUser(erasureOf({rooms}).erasure, userId, context)
      expect(await here.place.happened()).toEqual(events)
      expect(await keyOf(userId)).toBeNull()
      expect(await isMarked(userId)).toBe(true)
    })

    it('changes nothing when it is done again, also nothing of who came after with the same address', async () => {
      const {userId, identity, rooms, events, isInvited, bob} = await ann()
      await eraseUser(erasureOf({rooms}).erasure, userId, context)
      expect(await here.place.happened()).toEqual(events)
      const next = newUserId('email')
      await here.place.given(attempted(next, identity), claimed(identity, next), invited(isInvited, identity, bob))
      expect(await eraseUser(erasureOf({rooms}).erasure, userId, context)).toEqual({position: expect.anything()})
      expect(await here.place.happened()).toEqual([])
    })

    it('erases the other attempts for the address, so that their links stay dead', async () => {
      const {userId, identity} = await ann()
      const beside = newUserId('email')
      await here.place.given(attempted(beside, identity))
      await eraseUser(erasureOf({attempts: [beside]}).erasure, userId, context)
      expect(await here.place.happened()).toEqual([erased(userId), erased(beside), released(identity, userId)])
      expect(await keyOf(beside)).toBeNull()
    })

    it('knows nobody who was never there, and does nothing to them', async () => {
      await here.place.given()
      const {erasure, done} = erasureOf({failing: 'destroy'})
      expect(await eraseUser(erasure, newUserId('email'), context)).toEqual({refused: 'NOT_FOUND'})
      expect(await here.place.happened()).toEqual([])
      expect(done).toEqual([])
    })

    describe('eraseAttempt', () => {
      const as = {...context, name: 'finishErasure'}
      const now = new Date('2025-01-01T00:00:00.000Z')
      const past = {hash: 'token', expiresAt: now.toISOString()}
      const erase = async (userId: UserId) => {
        await eraseAttempt(erasureOf({}).erasure, userId, now, as)
        return here.place.happened()
      }

      it('erases an attempt whose link ran out, and leaves the invitations of its address alone', async () => {
        const {identity, isInvited, bob} = await ann()
        const userId = newUserId('email')
        const free = randomUUID() as string as IdentityHash
        await here.place.given(attempted(userId, free, {token: past}), invited(isInvited, free, bob))
        expect(await erase(userId)).toEqual([erased(userId)])
        expect(await keyOf(userId)).toBeNull()
        const lost = newUserId('email')
        await here.place.given(attempted(lost, identity))
        expect(await erase(lost)).toEqual([erased(lost)])
      })

      it('erases nobody whose link was sent again meanwhile, or who owns the address by now', async () => {
        const identity = randomUUID() as string as IdentityHash
        const [sentAgain, owner] = [newUserId('email'), newUserId('email')]
        const token = {tokenHash: 'again', tokenExpiresAt: '2025-01-01T00:00:01.000Z'}
        await here.place.given(attempted(sentAgain, randomUUID() as string as IdentityHash, {token: past}), {
          type: 'VerificationRequested',
          data: {userId: sentAgain, ...token},
        })
        expect(await erase(sentAgain)).toEqual([])
        await here.place.given(attempted(owner, identity, {token: past}), claimed(identity, owner))
        expect(await erase(owner)).toEqual([])
        await here.place.given(verified(owner))
        expect(await erase(owner)).toEqual([])
        expect(await keyOf(owner)).not.toBeNull()
      })
    })
  })
})
