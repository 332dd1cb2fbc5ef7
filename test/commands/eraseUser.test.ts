import {randomUUID} from 'node:crypto'
import {describe, expect, it} from 'vitest'
import {eraseUser} from '../../src/commands/eraseUser.ts'
import type {IdentityHash} from '../../src/domain/identity.ts'
import {newRoomId, newUserId} from '../../src/keys/ids.ts'
import {attempted, claimed, declined, invited, joined, left, roomCreated} from '../support/events.ts'
import {overEachLog} from '../support/place.ts'
import {person} from '../support/specification.ts'

const context = {actor: null, correlationId: 'request'}
const STEPS = ['endSessions', 'roomsOf', 'deleteUploads', 'deleteMails', 'destroy'] as const

describe('eraseUser', () => {
  overEachLog((here) => {
    /** Ann, in one room and invited to another, and what erasing her is made of. `failing`: the step that a crash cuts off. */
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
      const done: string[] = []
      const erase = (failing: (typeof STEPS)[number] | null = null) => {
        const step = async (name: (typeof STEPS)[number]) => {
          if (name === failing) throw new Error('cut off')
          done.push(name)
        }
        return eraseUser(
          {
            execute: here.node.execute,
            personKeys: {
              destroy: async (who) => {
                await step('destroy')
                await here.place.personKeys.destroy(who)
              },
            },
            roomsOf: async () => {
              await step('roomsOf')
              return [isIn, isInvited, other]
            },
            endSessions: () => step('endSessions'),
            deleteUploads: () => step('deleteUploads'),
            deleteMails: () => step('deleteMails'),
          },
          userId,
          context,
        )
      }
      const erased = {type: 'UserErased' as const, data: {userId}}
      const released = {type: 'IdentityReleased' as const, data: {identity, userId}}
      const gone = {...actor, username: '[erased]'}
      return {userId, erase, done, events: [erased, left(isIn, gone), declined(isInvited, actor), released]}
    }

    it('takes the person out of every room, lets the address go, and destroys the key last', async () => {
      const {userId, erase, done, events} = await ann()
      const result = await erase()
      const [first] = await here.place.logged()
      expect(result).toEqual({position: first!.position})
      expect(await here.place.happened()).toEqual(events)
      expect(done).toEqual(STEPS)
      expect((await here.place.personKeys.find([userId])).get(userId)).toBeNull()
    })

    it('is finished by the next attempt, wherever a crash cut it off', async () => {
      for (const step of STEPS) {
        const {userId, erase, done, events} = await ann()
        await expect(erase(step)).rejects.toThrow('cut off')
        expect((await here.place.personKeys.find([userId])).get(userId)).not.toBeNull()
        await erase()
        expect(await here.place.happened()).toEqual(events)
        expect(done.slice(-STEPS.length)).toEqual(STEPS)
      }
    })

    it('changes nothing when it is done again', async () => {
      const {erase, events} = await ann()
      await erase()
      expect(await erase()).toEqual({position: expect.anything()})
      expect(await here.place.happened()).toEqual(events)
    })

    it('knows nobody who was never there, and does nothing to them', async () => {
      await here.place.given()
      const nothing = () => Promise.reject(new Error('asked for'))
      const erasure = {roomsOf: nothing, endSessions: nothing, deleteUploads: nothing, deleteMails: nothing}
      const personKeys = {destroy: nothing}
      expect(
        await eraseUser({...erasure, personKeys, execute: here.node.execute}, newUserId('email'), context),
      ).toEqual({refused: 'NOT_FOUND'})
      expect(await here.place.happened()).toEqual([])
    })
  })
})
