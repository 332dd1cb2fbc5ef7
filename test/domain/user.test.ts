import {describe, expect, it} from 'vitest'
import {
  decideDropAttempt,
  decideErase,
  decideRegister,
  decideRequestReset,
  decideRequestVerification,
  decideReset,
  decideTakeOver,
  decideVerify,
  type UserEvent,
} from '../../src/domain/user.ts'
import {userFold} from '../../src/streams/streams.ts'
import {identityOf, person, specify} from '../support/specification.ts'

const given = specify(userFold)
const {userId} = person('Ann')

const registration = {
  userId,
  provider: 'email' as const,
  identity: identityOf('Ann'),
  email: 'ann@example.com',
  username: 'Ann',
  passwordHash: 'a hash',
  tokenHash: 'first',
  tokenExpiresAt: '2025-01-02T00:00:00.000Z',
}
const registered: UserEvent = {type: 'UserRegistered', data: registration}
const requested: UserEvent = {
  type: 'VerificationRequested',
  data: {userId, tokenHash: 'second', tokenExpiresAt: '2025-01-03T00:00:00.000Z'},
}
const verified = (tokenHash: string): UserEvent => ({type: 'UserVerified', data: {userId, tokenHash}})
const inTime = '2025-01-01T23:59:59.999Z'

describe('decideRegister', () => {
  it('begins an attempt with its own password, name and token', () => {
    given()
      .when((user) => decideRegister(user, registration))
      .happens(registered)
  })

  it('registers a stream once', () => {
    given(registered)
      .when((user) => decideRegister(user, {...registration, username: 'Eve'}))
      .changesNothing()
  })
})

describe('decideRequestVerification', () => {
  const token = {hash: 'second', expiresAt: '2025-01-03T00:00:00.000Z'}

  it('gives an open attempt a further token', () => {
    given(registered)
      .when((user) => decideRequestVerification(user, token))
      .happens(requested)
  })

  it('gives none to nobody, and none to whoever is verified', () => {
    given()
      .when((user) => decideRequestVerification(user, token))
      .changesNothing()
    given(registered, verified('first'))
      .when((user) => decideRequestVerification(user, token))
      .changesNothing()
  })
})

describe('decideVerify', () => {
  it('verifies with the token of the mail', () => {
    given(registered)
      .when((user) => decideVerify(user, 'first', inTime))
      .happens(verified('first'))
  })

  it('verifies with the token of any of the mails', () => {
    for (const hash of ['first', 'second']) {
      given(registered, requested)
        .when((user) => decideVerify(user, hash, inTime))
        .happens(verified(hash))
    }
  })

  it('refuses a token that the attempt does not have', () => {
    given(registered)
      .when((user) => decideVerify(user, 'second', inTime))
      .refuses('TOKEN_INVALID', {reason: 'invalid'})
    given()
      .when((user) => decideVerify(user, 'first', inTime))
      .refuses('TOKEN_INVALID', {reason: 'invalid'})
  })

  it('refuses a token from the moment it expires, each by its own time', () => {
    given(registered, requested)
      .when((user) => decideVerify(user, 'first', '2025-01-02T00:00:00.000Z'))
      .refuses('TOKEN_INVALID', {reason: 'expired'})
    given(registered, requested)
      .when((user) => decideVerify(user, 'second', '2025-01-02T00:00:00.000Z'))
      .happens(verified('second'))
  })

  it('refuses every token of an attempt once one was used, and says used of an old one too', () => {
    for (const [hash, now] of [
      ['first', inTime],
      ['second', inTime],
      ['first', '2026-01-01T00:00:00.000Z'],
    ] as const) {
      given(registered, requested, verified('first'))
        .when((user) => decideVerify(user, hash, now))
        .refuses('TOKEN_INVALID', {reason: 'used'})
    }
  })

  it('verifies nobody who came without a token', () => {
    const {data} = registered as Extract<UserEvent, {type: 'UserRegistered'}>
    given({type: 'UserRegistered', data: {...data, tokenHash: null, tokenExpiresAt: null}})
      .when((user) => decideVerify(user, 'first', inTime))
      .refuses('TOKEN_INVALID', {reason: 'invalid'})
  })
})

const resetRequested = (tokenHash: string, tokenExpiresAt = '2025-01-03T00:00:00.000Z'): UserEvent => ({
  type: 'PasswordResetRequested',
  data: {userId, tokenHash, tokenExpiresAt},
})
const passwordChanged = (tokenHash: string, passwordHash = 'new hash'): UserEvent => ({
  type: 'PasswordChanged',
  data: {userId, passwordHash, tokenHash},
})
const erased: UserEvent = {type: 'UserErased', data: {userId}}

describe('decideRequestReset', () => {
  const token = {hash: 'reset', expiresAt: '2025-01-03T00:00:00.000Z'}

  it('gives a token to whoever registered, verified or not', () => {
    for (const before of [[registered], [registered, verified('first')]]) {
      given(...before)
        .when((user) => decideRequestReset(user, token))
        .happens(resetRequested('reset'))
    }
  })

  it('gives none to nobody, and none to whoever was erased', () => {
    for (const before of [[], [registered, erased]]) {
      given(...before)
        .when((user) => decideRequestReset(user, token))
        .changesNothing()
    }
  })
})

describe('decideReset', () => {
  const reset = (tokenHash: string, now = inTime) => ({tokenHash, passwordHash: 'new hash', now})

  it('sets the password with any token that was asked for', () => {
    for (const hash of ['a', 'b']) {
      given(registered, verified('first'), resetRequested('a'), resetRequested('b'))
        .when((user) => decideReset(user, reset(hash)))
        .happens(passwordChanged(hash))
    }
  })

  it('uses up its token and every older one, and none that is asked for later', () => {
    const before = [registered, resetRequested('a'), resetRequested('b'), passwordChanged('b'), resetRequested('c')]
    for (const hash of ['a', 'b']) {
      given(...before)
        .when((user) => decideReset(user, reset(hash)))
        .refuses('TOKEN_INVALID', {reason: 'invalid'})
    }
    given(...before)
      .when((user) => decideReset(user, reset('c')))
      .happens(passwordChanged('c'))
  })

  it('refuses a token from the moment it expires', () => {
    given(registered, resetRequested('a', '2025-01-02T00:00:00.000Z'))
      .when((user) => decideReset(user, reset('a', '2025-01-02T00:00:00.000Z')))
      .refuses('TOKEN_INVALID', {reason: 'expired'})
  })

  it('takes no token that verifies; and none that resets verifies', () => {
    given(registered, resetRequested('a'))
      .when((user) => decideReset(user, reset('first')))
      .refuses('TOKEN_INVALID', {reason: 'invalid'})
    given(registered, resetRequested('a'))
      .when((user) => decideVerify(user, 'a', inTime))
      .refuses('TOKEN_INVALID', {reason: 'invalid'})
  })

  it('refuses who was erased', () => {
    given(registered, resetRequested('a'), erased)
      .when((user) => decideReset(user, reset('a')))
      .refuses('TOKEN_INVALID', {reason: 'invalid'})
  })

  it('proves the address: the tokens of the registration are used up', () => {
    given(registered, resetRequested('a'), passwordChanged('a'))
      .when((user) => decideVerify(user, 'first', inTime))
      .refuses('TOKEN_INVALID', {reason: 'used'})
  })
})

describe('decideTakeOver', () => {
  const now = (username: string | null, email: string | null = 'ann@example.com') => ({username, email})
  const changed = (username: string, email: string | null): UserEvent => ({
    type: 'ProfileChanged',
    data: {userId, username, email},
  })

  it('takes over what changed at the provider, and nothing else', () => {
    given(registered)
      .when((user) => decideTakeOver(user, now('Anna')))
      .happens(changed('Anna', 'ann@example.com'))
    given(registered)
      .when((user) => decideTakeOver(user, now('Ann', null)))
      .happens(changed('Ann', null))
    given(registered, changed('Anna', null))
      .when((user) => decideTakeOver(user, now('Anna', null)))
      .changesNothing()
  })

  it('leaves the name where none comes', () => {
    given(registered)
      .when((user) => decideTakeOver(user, now(null)))
      .changesNothing()
    given(registered)
      .when((user) => decideTakeOver(user, now(null, null)))
      .happens(changed('Ann', null))
  })

  it('changes nothing about nobody, and nothing about whoever was erased', () => {
    for (const before of [[], [registered, erased]]) {
      given(...before)
        .when((user) => decideTakeOver(user, now('Anna')))
        .changesNothing()
    }
  })
})

describe('evolveUser', () => {
  it('makes an attempt a verified user, with all that it registered', () => {
    const {tokenHash: _hash, tokenExpiresAt: _expires, ...facts} = registration
    const state = (...events: UserEvent[]) => userFold.evolve(userFold.initial, events)
    expect(state(registered)).toMatchObject({kind: 'attempt', ...facts})
    expect(state(registered, verified('first'))).toMatchObject({kind: 'verified', ...facts})
    expect(state(verified('first'))).toEqual({kind: 'none'})
  })
})

describe('decideDropAttempt', () => {
  const reset: UserEvent = {
    type: 'PasswordResetRequested',
    data: {userId, tokenHash: 'reset', tokenExpiresAt: '2025-01-04T00:00:00.000Z'},
  }
  const erased: UserEvent = {type: 'UserErased', data: {userId}}
  const late = '2025-01-02T00:00:00.000Z'

  it('drops an attempt when its last link has run out, of whichever kind', () => {
    const dropped = (now: string) => (user: Parameters<typeof decideDropAttempt>[0]) =>
      decideDropAttempt(user, {isLost: false, now})
    given(registered).when(dropped(inTime)).changesNothing()
    given(registered).when(dropped(late)).happens(erased)
    given(registered, requested).when(dropped(late)).changesNothing()
    given(registered, requested).when(dropped('2025-01-03T00:00:00.000Z')).happens(erased)
    given(registered, reset).when(dropped('2025-01-03T00:00:00.000Z')).changesNothing()
    given(registered, reset).when(dropped('2025-01-04T00:00:00.000Z')).happens(erased)
  })

  it('drops an attempt whose identity another one owns, and never who is verified or erased', () => {
    const lost = (user: Parameters<typeof decideDropAttempt>[0]) => decideDropAttempt(user, {isLost: true, now: inTime})
    given(registered).when(lost).happens(erased)
    given(registered, verified('first')).when(lost).changesNothing()
    given(registered, erased).when(lost).changesNothing()
    given().when(lost).changesNothing()
  })
})

describe('decideErase', () => {
  it('erases an attempt and a person once, and nobody who was never there', () => {
    const erased: UserEvent = {type: 'UserErased', data: {userId}}
    given(registered).when(decideErase).happens(erased)
    given(registered, verified('first')).when(decideErase).happens(erased)
    given(registered, erased).when(decideErase).changesNothing()
    given().when(decideErase).refuses('NOT_FOUND')
  })
})
