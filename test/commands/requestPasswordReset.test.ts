import {randomUUID} from 'node:crypto'
import {beforeAll, describe, expect, it} from 'vitest'
import {requestPasswordReset} from '../../src/commands/requestPasswordReset.ts'
import {newUserId} from '../../src/keys/ids.ts'
import {findOpenAttempts} from '../../src/projections/users.ts'
import {attempted, claimed} from '../support/events.ts'
import {takeMails} from '../support/mails.ts'
import {type Feeder, overEachLog} from '../support/place.ts'

const context = {actor: null, correlationId: 'request'}
const DAY_MS = 86_400_000

describe('requestPasswordReset', () => {
  overEachLog((here) => {
    let feeder: Feeder
    beforeAll(async () => {
      feeder = await here.place.startFeeder()
    })

    const request = async (email: string, attempt: ReturnType<typeof newUserId> | null = null) => {
      const {keys, log, pool} = here.place
      const {mail: resetMail, taken} = takeMails(log)
      const result = await requestPasswordReset(
        {
          execute: here.node.execute,
          keys,
          resetMail,
          newUsername: () => 'member-xxxxx',
          openAttempts: async (identity) => {
            await feeder.caughtUp()
            return findOpenAttempts(pool, identity)
          },
        },
        {email, attempts: attempt ? [attempt] : []},
        context,
      )
      expect(result).toBeUndefined()
      return taken
    }
    const newPerson = () => {
      const email = `${randomUUID()}@example.com`
      return {email, identity: here.place.keys.identityHash('email', email), userId: newUserId('email')}
    }
    const requested = ({token}: Awaited<ReturnType<typeof request>>[number]) => ({
      type: 'PasswordResetRequested',
      data: {userId: token.userId, tokenHash: token.hash, tokenExpiresAt: token.expiresAt},
    })

    it('mails whoever owns the address a token for 24 hours, and keeps its hash', async () => {
      const {email, identity, userId} = newPerson()
      await here.place.given(attempted(userId, identity, {username: 'Ann'}), claimed(identity, userId))
      const [mail, ...others] = await request(email)
      expect(others).toEqual([])
      expect(mail).toMatchObject({
        to: email,
        username: 'Ann',
        token: {userId},
        inLogWhenQueued: false,
        inLogWhenReleased: true,
      })
      expect(Date.parse(mail!.token.expiresAt) - mail!.askedAt.getTime()).toBe(DAY_MS)
      expect(await here.place.happened()).toEqual([requested(mail!)])
      expect(JSON.stringify(await here.place.happened())).not.toContain(mail!.token.secret)
    })

    it('gives an address that nobody verified an attempt of its own, without a password', async () => {
      const {email, identity, userId} = newPerson()
      await here.place.given(attempted(userId, identity, {username: 'Ann'}))
      const [mail] = await request(email)
      expect(mail).toMatchObject({to: email, username: 'Ann', inLogWhenQueued: false, inLogWhenReleased: true})
      const {token} = mail!
      expect(token.userId).not.toBe(userId)
      expect(await here.place.happened()).toEqual([
        {
          type: 'UserRegistered',
          data: {
            userId: token.userId,
            provider: 'email',
            identity,
            email,
            username: 'Ann',
            passwordHash: null,
            tokenHash: null,
            tokenExpiresAt: token.expiresAt,
          },
        },
        requested(mail!),
      ])
    })

    it('names the attempt of this session where there are several, or nobody’s', async () => {
      const {email, identity, userId} = newPerson()
      const eve = attempted(newUserId('email'), identity, {username: 'Eve'})
      await here.place.given(attempted(userId, identity, {username: 'Ann'}), eve)
      expect(await request(email, userId)).toMatchObject([{username: 'Ann'}])
      expect(await request(email)).toMatchObject([{username: 'member-xxxxx'}])
    })

    it('does nothing at an address that nobody registered', async () => {
      await here.place.given()
      expect(await request(newPerson().email)).toEqual([])
      expect(await here.place.happened()).toEqual([])
    })
  })
})
