import {randomUUID} from 'node:crypto'
import {beforeAll, describe, expect, it} from 'vitest'
import {logIn} from '../../src/commands/logIn.ts'
import {newUserId} from '../../src/keys/ids.ts'
import {comparePassword, hashPassword} from '../../src/keys/password.ts'
import {findOpenAttempts} from '../../src/projections/users.ts'
import {attempted, claimed} from '../support/events.ts'
import {type Feeder, overEachLog} from '../support/place.ts'

const context = {correlationId: 'request'}

describe('logIn', () => {
  overEachLog((here) => {
    let feeder: Feeder
    let passwordHash: string
    let failed: string[] = []
    beforeAll(async () => {
      feeder = await here.place.startFeeder()
      passwordHash = await hashPassword('right one', 4)
    })

    const logInWith = async (email: string, password: string, meanwhile: () => Promise<void> = async () => {}) => {
      const {keys, pool} = here.place
      let compared = 0
      failed = []
      const result = await logIn(
        {
          execute: here.node.execute,
          keys,
          openAttempts: async (identity) => {
            await feeder.caughtUp()
            return findOpenAttempts(pool, identity)
          },
          comparePassword: async (given, hash) => {
            compared++
            await meanwhile()
            return comparePassword(given, hash, 4)
          },
          onFailed: (userId, refused) => void failed.push(`${userId} ${refused}`),
        },
        {email, password},
        context,
      )
      expect(compared).toBe(1)
      return result
    }
    const newPerson = () => {
      const email = `${randomUUID()}@example.com`
      return {email, identity: here.place.keys.identityHash('email', email), userId: newUserId('email')}
    }

    it('signs in by address and password, and writes it down', async () => {
      const {email, identity, userId} = newPerson()
      await here.place.given(attempted(userId, identity, {passwordHash}), claimed(identity, userId))
      const result = await logInWith(email, 'right one')
      expect(result).toEqual({userId, position: await here.place.log.head()})
      const [event, ...rest] = await here.place.logged()
      expect(rest).toEqual([])
      expect(event).toMatchObject({
        stream: `access-${userId}`,
        type: 'SignedIn',
        data: {userId, by: 'password'},
        metadata: {actor: userId, command: 'logIn'},
      })
    })

    it('refuses a wrong password, and an address that nobody registered, alike', async () => {
      const {email, identity, userId} = newPerson()
      await here.place.given(attempted(userId, identity, {passwordHash}), claimed(identity, userId))
      expect(await logInWith(email, 'wrong one')).toEqual({refused: 'WRONG_CREDENTIALS'})
      expect(failed).toEqual([`${userId} WRONG_CREDENTIALS`])
      expect(await logInWith(newPerson().email, 'right one')).toEqual({refused: 'WRONG_CREDENTIALS'})
      expect(failed).toEqual([])
      expect(await here.place.happened()).toEqual([])
    })

    it('tells who registered an unverified address so by the newest attempt’s password, and nobody else', async () => {
      const {email, identity, userId} = newPerson()
      const newest = newUserId('email')
      await here.place.given(
        attempted(userId, identity, {passwordHash: await hashPassword('older one', 4)}),
        attempted(newest, identity, {passwordHash}),
      )
      expect(await logInWith(email, 'right one')).toEqual({refused: 'NOT_VERIFIED', attempt: newest})
      expect(failed).toEqual([`${newest} NOT_VERIFIED`])
      expect(await logInWith(email, 'older one')).toEqual({refused: 'WRONG_CREDENTIALS'})
      expect(await here.place.happened()).toEqual([])
    })

    it('knows only the password of the attempt that claimed the address', async () => {
      const {email, identity, userId} = newPerson()
      const other = newUserId('email')
      await here.place.given(
        attempted(userId, identity, {passwordHash: await hashPassword('owner’s', 4)}),
        attempted(other, identity, {passwordHash}),
        claimed(identity, userId),
      )
      expect(await logInWith(email, 'right one')).toEqual({refused: 'WRONG_CREDENTIALS'})
      expect(await logInWith(email, 'owner’s')).toMatchObject({userId})
    })

    it('lets nobody in by password whose link set none', async () => {
      const {email, identity, userId} = newPerson()
      await here.place.given(attempted(userId, identity, {passwordHash: null}), claimed(identity, userId))
      for (const password of ['', 'null', 'right one']) {
        expect(await logInWith(email, password)).toEqual({refused: 'WRONG_CREDENTIALS'})
      }
    })

    it('refuses the old password where a new one was set while it was compared', async () => {
      const {email, identity, userId} = newPerson()
      await here.place.given(attempted(userId, identity, {passwordHash}), claimed(identity, userId))
      const data = {userId, passwordHash: 'new hash', tokenHash: 'reset'}
      const result = await logInWith(email, 'right one', () => here.place.given({type: 'PasswordChanged', data}))
      expect(result).toEqual({refused: 'WRONG_CREDENTIALS'})
      expect(await here.place.happened()).toEqual([])
    })

    it('signs in again and again, at once too', async () => {
      const {email, identity, userId} = newPerson()
      await here.place.given(attempted(userId, identity, {passwordHash}), claimed(identity, userId))
      const results = await Promise.all([1, 2, 3].map(() => logInWith(email, 'right one')))
      expect(results).toMatchObject([{userId}, {userId}, {userId}])
      expect(await here.place.happened()).toHaveLength(3)
    })
  })
})
