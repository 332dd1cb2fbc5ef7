import {randomInt} from 'node:crypto'
import {describe, expect, it} from 'vitest'
import {type ProviderAccount, signInWithProvider} from '../../src/commands/signInWithProvider.ts'
import type {UserId} from '../../src/domain/user.ts'
import {claimed} from '../support/events.ts'
import {type Node, overEachLog} from '../support/place.ts'

const context = {correlationId: 'request'}

const newAccount = (of: Partial<ProviderAccount> = {}): ProviderAccount => ({
  provider: 'discord',
  subject: `8035111${randomInt(1e10, 1e11)}`,
  username: 'Nelly',
  email: 'nelly@example.com',
  ...of,
})

describe('signInWithProvider', () => {
  overEachLog((here) => {
    const signIn = async (account: ProviderAccount, {execute}: Node = here.node) => {
      const result = await signInWithProvider({execute, keys: here.place.keys}, account, context)
      if ('refused' in result) throw new Error(result.refused)
      return result
    }
    const identityOf = ({provider, subject}: ProviderAccount) => here.place.keys.identityHash(provider, subject)
    const signedIn = (userId: UserId, by: 'discord' | 'reddit') => ({type: 'SignedIn', data: {userId, by}})
    const crashing = (atAppend: number): Promise<Node> => {
      let appends = 0
      return here.place.startNode({
        wrap: (log) => ({
          ...log,
          append: (...args) => (++appends === atAppend ? Promise.reject(new Error('killed')) : log.append(...args)),
        }),
      })
    }

    it.each(['discord', 'reddit'] as const)('registers who comes for the first time by %s', async (provider) => {
      const account = newAccount({provider})
      await here.place.given()
      const {userId, position} = await signIn(account)
      expect(userId).toMatch(new RegExp(`^${provider}_[a-z2-7]{26}$`))
      const {username, email} = account
      const nothing = {passwordHash: null, tokenHash: null, tokenExpiresAt: null}
      const identity = identityOf(account)
      expect(await here.place.happened()).toEqual([
        {type: 'UserRegistered', data: {userId, provider, identity, username, email, ...nothing}},
        claimed(identity, userId),
        signedIn(userId, provider),
      ])
      expect(position).toBe(await here.place.log.head())
      for (const {metadata} of await here.place.logged()) {
        expect(metadata).toMatchObject({command: 'signInWithProvider', actor: userId, correlationId: 'request'})
      }
    })

    it('signs in who came before, and changes nothing where nothing changed', async () => {
      const account = newAccount()
      const {userId} = await signIn(account)
      await here.place.given()
      expect((await signIn(account)).userId).toBe(userId)
      expect(await here.place.happened()).toEqual([signedIn(userId, 'discord')])
    })

    it('takes over a changed name and a changed address, once', async () => {
      const account = newAccount()
      const {userId} = await signIn(account)
      await here.place.given()
      for (const changed of [
        {username: 'Nell', email: 'nelly@example.com'},
        {username: 'Nell', email: null},
      ]) {
        await signIn({...account, ...changed})
        await signIn({...account, ...changed})
        const [first, ...rest] = await here.place.happened()
        expect(first).toEqual({type: 'ProfileChanged', data: {userId, ...changed}})
        expect(rest.map(({type}) => type)).toEqual(['SignedIn', 'SignedIn'])
        await here.place.given()
      }
    })

    it('gives a name to whoever has none, and leaves the one there is where none comes', async () => {
      const account = newAccount({username: null})
      await here.place.given()
      const {userId} = await signIn(account)
      expect((await here.place.happened())[0]).toMatchObject({
        type: 'UserRegistered',
        data: {username: expect.stringMatching(/^member-[a-z2-7]{5}$/)},
      })
      await here.place.given()
      await signIn(account)
      expect(await here.place.happened()).toEqual([signedIn(userId, 'discord')])
    })

    it('keeps apart the same id at two providers, and the same address at two ids', async () => {
      const account = newAccount()
      const people = [account, newAccount({...account, provider: 'reddit'}), newAccount({email: account.email})]
      const ids = []
      for (const one of people) ids.push((await signIn(one)).userId)
      expect(new Set(ids).size).toBe(3)
    })

    it('makes one person of first logins at once, on several nodes', async () => {
      const account = newAccount()
      const nodes = [here.node, await here.place.startNode(), await here.place.startNode()]
      await here.place.given()
      const results = await Promise.all(nodes.map((node) => signIn(account, node)))
      const [userId, ...others] = new Set(results.map((result) => result.userId))
      expect(others).toEqual([])
      const claims = (await here.place.happened()).filter(({type}) => type === 'IdentityClaimed')
      expect(claims).toEqual([claimed(identityOf(account), userId!)])
    })

    it('registers anew where a crash came before the claim: what it left stands in nobody’s way', async () => {
      const account = newAccount()
      await here.place.given()
      await expect(signIn(account, await crashing(2))).rejects.toThrow('killed')
      const [left, ...rest] = await here.place.happened()
      expect([left!.type, rest]).toEqual(['UserRegistered', []])
      const {userId} = await signIn(account)
      expect((left!.data as {userId: string}).userId).not.toBe(userId)
      expect((await signIn(account)).userId).toBe(userId)
    })

    it('goes on where a crash came after the claim', async () => {
      const account = newAccount()
      await here.place.given()
      await expect(signIn(account, await crashing(3))).rejects.toThrow('killed')
      const claim = (await here.place.happened())[1]
      const {userId} = await signIn(account)
      expect(claim).toEqual(claimed(identityOf(account), userId))
    })
  })
})
