import {randomUUID} from 'node:crypto'
import {describe, expect, it} from 'vitest'
import {resetPassword} from '../../src/commands/resetPassword.ts'
import type {IdentityHash} from '../../src/domain/identity.ts'
import type {UserEvent, UserId} from '../../src/domain/user.ts'
import {newUserId} from '../../src/keys/ids.ts'
import {attempted, claimed, verified} from '../support/events.ts'
import {overEachLog} from '../support/place.ts'

const context = {correlationId: 'request'}
const now = new Date('2025-01-01T12:00:00.000Z')
const newPerson = () => ({userId: newUserId('email'), identity: randomUUID() as string as IdentityHash})

const requested = (userId: UserId, tokenHash: string, tokenExpiresAt = '2025-01-02T00:00:00.000Z'): UserEvent => ({
  type: 'PasswordResetRequested',
  data: {userId, tokenHash, tokenExpiresAt},
})
const changed = (userId: UserId, tokenHash: string): UserEvent => ({
  type: 'PasswordChanged',
  data: {userId, passwordHash: 'new hash', tokenHash},
})

describe('resetPassword', () => {
  overEachLog((here) => {
    let hashed = 0
    /** The log's head at each time that the sessions were ended. */
    let ended: (bigint | null)[] = []
    const reset = (userId: UserId, tokenHash: string, node = here.node) => {
      hashed = 0
      ended = []
      const hashPassword = async () => {
        hashed++
        return 'new hash'
      }
      const endSessions = async () => void ended.push(await here.place.log.head())
      return resetPassword({execute: node.execute, hashPassword, endSessions}, {userId, tokenHash, now}, context)
    }

    it('sets the password of whoever owns the address', async () => {
      const {userId, identity} = newPerson()
      await here.place.given(attempted(userId, identity), claimed(identity, userId), verified(userId))
      await here.place.given(requested(userId, 'reset'))
      const result = await reset(userId, 'reset')
      expect(await here.place.happened()).toEqual([changed(userId, 'reset')])
      expect(result).toEqual({userId, position: await here.place.log.head(), eventId: expect.any(String)})
      const [first] = await here.place.logged()
      expect(first!.metadata).toMatchObject({actor: userId, command: 'resetPassword', correlationId: 'request'})
    })

    it('claims an address that nobody has, first', async () => {
      const {userId, identity} = newPerson()
      await here.place.given(attempted(userId, identity, {passwordHash: null}), requested(userId, 'reset'))
      expect(await reset(userId, 'reset')).toMatchObject({userId})
      expect(await here.place.happened()).toEqual([claimed(identity, userId), changed(userId, 'reset')])
    })

    it('ends the sessions of the person before the password changes, and after', async () => {
      const {userId, identity} = newPerson()
      await here.place.given(attempted(userId, identity), claimed(identity, userId), requested(userId, 'reset'))
      const before = await here.place.log.head()
      await reset(userId, 'reset')
      expect(ended).toEqual([before, await here.place.log.head()])
      await reset(userId, 'reset')
      expect(ended).toEqual([])
    })

    it('completes by the same link what a crash cut off after the claim', async () => {
      const {userId, identity} = newPerson()
      await here.place.given(attempted(userId, identity, {passwordHash: null}), requested(userId, 'reset'))
      let appends = 0
      const crashing = await here.place.startNode({
        wrap: (log) => ({
          ...log,
          append: (...args) => (++appends === 2 ? Promise.reject(new Error('killed')) : log.append(...args)),
        }),
      })
      await expect(reset(userId, 'reset', crashing)).rejects.toThrow('killed')
      expect(await reset(userId, 'reset')).toMatchObject({userId})
      expect(await here.place.happened()).toEqual([claimed(identity, userId), changed(userId, 'reset')])
    })

    it('is worth nothing where another attempt has the address by now', async () => {
      const [mine, other] = [newPerson(), newUserId('email')]
      const {userId, identity} = mine
      await here.place.given(attempted(userId, identity), requested(userId, 'reset'), claimed(identity, other))
      expect(await reset(userId, 'reset')).toMatchObject({refused: 'TOKEN_INVALID'})
      expect(await here.place.happened()).toEqual([])
    })

    it('uses up every older token with its own', async () => {
      const {userId, identity} = newPerson()
      await here.place.given(attempted(userId, identity), claimed(identity, userId))
      await here.place.given(requested(userId, 'first'), requested(userId, 'second'))
      expect(await reset(userId, 'first')).toMatchObject({userId})
      for (const token of ['first', 'second']) {
        expect(await reset(userId, token)).toMatchObject({refused: 'TOKEN_INVALID'})
      }
      expect(await here.place.happened()).toEqual([changed(userId, 'first')])
    })

    it('lets one of two uses at once win, on two nodes', async () => {
      const {userId, identity} = newPerson()
      await here.place.given(attempted(userId, identity), requested(userId, 'reset'))
      const other = await here.place.startNode()
      const results = await Promise.all([reset(userId, 'reset'), reset(userId, 'reset', other)])
      expect(results.filter((result) => 'userId' in result)).toHaveLength(1)
      expect(results).toContainEqual(expect.objectContaining({refused: 'TOKEN_INVALID'}))
    })

    it.each([
      ['an old one', 'reset', '2025-01-01T12:00:00.000Z'],
      ['one that was never given', 'another', undefined],
      ['one that verifies', 'token', undefined],
    ])('refuses %s, and hashes nothing for it', async (_, tokenHash, expiresAt) => {
      const {userId, identity} = newPerson()
      await here.place.given(attempted(userId, identity), requested(userId, 'reset', expiresAt))
      expect(await reset(userId, tokenHash)).toMatchObject({refused: 'TOKEN_INVALID'})
      expect(await reset(newUserId('email'), tokenHash)).toMatchObject({refused: 'TOKEN_INVALID'})
      expect(hashed).toBe(0)
      expect(await here.place.happened()).toEqual([])
    })
  })
})
