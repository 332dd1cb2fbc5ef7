import {randomUUID} from 'node:crypto'
import {beforeAll, describe, expect, it} from 'vitest'
import {resendVerification} from '../../src/commands/resendVerification.ts'
import {newUserId} from '../../src/keys/ids.ts'
import {findOpenAttempts} from '../../src/projections/users.ts'
import {attempted, claimed} from '../support/events.ts'
import {takeMails} from '../support/mails.ts'
import {type Feeder, overEachLog} from '../support/place.ts'

const context = {actor: null, correlationId: 'request'}

describe('resendVerification', () => {
  overEachLog((here) => {
    let feeder: Feeder
    beforeAll(async () => {
      feeder = await here.place.startFeeder()
    })

    const resend = async (email: string, attempt: ReturnType<typeof newUserId> | null = null) => {
      const {keys, log, pool} = here.place
      const {mail, taken} = takeMails(log)
      const result = await resendVerification(
        {
          execute: here.node.execute,
          keys,
          mail,
          newUsername: () => 'member-xxxxx',
          openAttempts: async (identity) => {
            await feeder.caughtUp()
            return findOpenAttempts(pool, identity)
          },
        },
        {email, attempts: attempt ? [attempt] : []},
        context,
      )
      return {result, taken}
    }
    const newPerson = () => {
      const email = `${randomUUID()}@example.com`
      return {email, identity: here.place.keys.identityHash('email', email)}
    }

    it('sends the only open attempt a further token', async () => {
      const {email, identity} = newPerson()
      const userId = newUserId('email')
      await here.place.given(attempted(userId, identity, {username: 'Ann'}))
      const {result, taken} = await resend(email)
      expect(taken).toMatchObject([
        {to: email, username: 'Ann', token: {userId}, inLogWhenQueued: false, inLogWhenReleased: true},
      ])
      const {hash: tokenHash, expiresAt: tokenExpiresAt} = taken[0]!.token
      expect(await here.place.happened()).toEqual([
        {type: 'VerificationRequested', data: {userId, tokenHash, tokenExpiresAt}},
      ])
      expect(result).toEqual({position: await here.place.log.head()})
    })

    it('sends the attempt of this session, where there are several', async () => {
      const {email, identity} = newPerson()
      const own = newUserId('email')
      await here.place.given(attempted(own, identity), attempted(newUserId('email'), identity, {username: 'Eve'}))
      const {taken} = await resend(email, own)
      expect(taken).toMatchObject([{username: 'Ann', token: {userId: own}}])
      expect((await here.place.happened()).map(({type}) => type)).toEqual(['VerificationRequested'])
    })

    it('sends a token that sets no password, where there are several and none is this session’s', async () => {
      const {email, identity} = newPerson()
      const attempts = [newUserId('email'), newUserId('email')]
      await here.place.given(...attempts.map((userId) => attempted(userId, identity)))
      const {taken} = await resend(email)
      expect(taken).toMatchObject([{to: email, username: 'member-xxxxx'}])
      const {userId} = taken[0]!.token
      expect(attempts).not.toContain(userId)
      expect(await here.place.happened()).toMatchObject([
        {type: 'UserRegistered', data: {userId, identity, passwordHash: null, username: 'member-xxxxx'}},
      ])
    })

    it('takes an attempt at another address for none', async () => {
      const [mine, others] = [newPerson(), newPerson()]
      const [userId, other] = [newUserId('email'), newUserId('email')]
      await here.place.given(attempted(userId, mine.identity), attempted(other, others.identity))
      const {taken} = await resend(mine.email, other)
      expect(taken).toMatchObject([{to: mine.email, token: {userId}}])
    })

    it('does nothing at an address that is verified, or that nobody registered', async () => {
      const {email, identity} = newPerson()
      const userId = newUserId('email')
      await here.place.given(attempted(userId, identity), claimed(identity, userId))
      for (const [address, attempt] of [
        [email, userId],
        [email, null],
        [newPerson().email, null],
        [newPerson().email, userId],
      ] as const) {
        expect(await resend(address, attempt)).toEqual({result: {position: null}, taken: []})
      }
      expect(await here.place.happened()).toEqual([])
    })
  })
})
