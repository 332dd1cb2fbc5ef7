import {randomUUID} from 'node:crypto'
import {describe, expect, it} from 'vitest'
import {verifyEmail} from '../../src/commands/verifyEmail.ts'
import type {IdentityHash} from '../../src/domain/identity.ts'
import {newUserId} from '../../src/keys/ids.ts'
import {attempted, claimed, verified} from '../support/events.ts'
import {overEachLog} from '../support/place.ts'

const context = {correlationId: 'request'}
const newIdentity = () => randomUUID() as string as IdentityHash
const now = new Date('2025-01-01T12:00:00.000Z')
const token = (hash: string, expiresAt = '2025-01-02T00:00:00.000Z') => ({token: {hash, expiresAt}})

describe('verifyEmail', () => {
  overEachLog((here) => {
    const verify = (userId: ReturnType<typeof newUserId>, tokenHash = 'token', node = here.node) =>
      verifyEmail({execute: node.execute}, {userId, tokenHash, now}, context)

    it('claims the identity first, then marks the token used', async () => {
      const [userId, identity] = [newUserId('email'), newIdentity()]
      await here.place.given(attempted(userId, identity, token('token')))
      const result = await verify(userId)
      expect(await here.place.happened()).toEqual([claimed(identity, userId), verified(userId)])
      expect(result).toEqual({userId, position: await here.place.log.head(), eventId: expect.any(String)})
      const [first] = await here.place.logged()
      expect(first!.metadata).toMatchObject({actor: userId, command: 'verifyEmail', correlationId: 'request'})
    })

    it('completes on the next click what a crash cut off after the claim', async () => {
      const [userId, identity] = [newUserId('email'), newIdentity()]
      await here.place.given(attempted(userId, identity, token('token')))
      let appends = 0
      const crashing = await here.place.startNode({
        wrap: (log) => ({
          ...log,
          append: (...args) => (++appends === 2 ? Promise.reject(new Error('killed')) : log.append(...args)),
        }),
      })
      await expect(verify(userId, 'token', crashing)).rejects.toThrow('killed')
      expect(await here.place.happened()).toEqual([claimed(identity, userId)])
      expect(await verify(userId)).toMatchObject({userId})
      expect(await here.place.happened()).toEqual([claimed(identity, userId), verified(userId)])
    })

    it('lets the first claim of several attempts win: the tokens of the others are invalid', async () => {
      const [first, second, identity] = [newUserId('email'), newUserId('email'), newIdentity()]
      await here.place.given(attempted(first, identity, token('1')), attempted(second, identity, token('2')))
      expect(await verify(second, '2')).toMatchObject({userId: second})
      expect(await verify(first, '1')).toEqual({refused: 'TOKEN_INVALID', reason: 'invalid'})
      expect(await here.place.happened()).toEqual([claimed(identity, second), verified(second, '2')])
    })

    it('lets one of two attempts win that are verified at once on two nodes', async () => {
      const [first, second, identity] = [newUserId('email'), newUserId('email'), newIdentity()]
      await here.place.given(attempted(first, identity, token('1')), attempted(second, identity, token('2')))
      const other = await here.place.startNode()
      const results = await Promise.all([verify(first, '1'), verify(second, '2', other)])
      expect(results.filter((result) => 'userId' in result)).toHaveLength(1)
      expect(results).toContainEqual({refused: 'TOKEN_INVALID', reason: 'invalid'})
      expect((await here.place.happened()).map(({type}) => type)).toEqual(['IdentityClaimed', 'UserVerified'])
    })

    it('lets one of two clicks on the same link win', async () => {
      const [userId, identity] = [newUserId('email'), newIdentity()]
      await here.place.given(attempted(userId, identity, token('token')))
      const other = await here.place.startNode()
      const results = await Promise.all([verify(userId), verify(userId, 'token', other)])
      expect(results).toContainEqual({refused: 'TOKEN_INVALID', reason: 'used'})
      expect(results.filter((result) => 'userId' in result)).toHaveLength(1)
      expect(await here.place.happened()).toEqual([claimed(identity, userId), verified(userId)])
    })

    it.each([
      ['used', 'used', true, '2025-01-02T00:00:00.000Z'],
      ['old', 'expired', false, '2025-01-01T12:00:00.000Z'],
    ])('refuses a token that is %s, and changes nothing', async (_, reason, used, expiresAt) => {
      const [userId, identity] = [newUserId('email'), newIdentity()]
      const before = used ? [claimed(identity, userId), verified(userId)] : []
      await here.place.given(attempted(userId, identity, token('token', expiresAt)), ...before)
      expect(await verify(userId)).toEqual({refused: 'TOKEN_INVALID', reason})
      expect(await here.place.happened()).toEqual([])
    })

    it('refuses a token that was never given, of somebody and of nobody', async () => {
      const [userId, identity] = [newUserId('email'), newIdentity()]
      await here.place.given(attempted(userId, identity, token('token')))
      expect(await verify(userId, 'another')).toEqual({refused: 'TOKEN_INVALID', reason: 'invalid'})
      expect(await verify(newUserId('email'))).toEqual({refused: 'TOKEN_INVALID', reason: 'invalid'})
      expect(await here.place.happened()).toEqual([])
    })
  })
})
