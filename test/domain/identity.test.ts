import {describe, it} from 'vitest'
import {decideClaim, type IdentityEvent} from '../../src/domain/identity.ts'
import {identityFold} from '../../src/streams/streams.ts'
import {identityOf, specify} from '../support/specification.ts'

const given = specify(identityFold)
const identity = identityOf('Ann')
const claimedBy = (userId: string): IdentityEvent => ({type: 'IdentityClaimed', data: {identity, userId}})

describe('decideClaim', () => {
  it('gives a free identity to whoever claims it first', () => {
    given()
      .when((state) => decideClaim(state, identity, 'email_1'))
      .happens(claimedBy('email_1'))
  })

  it('takes a second claim by its owner for a repeat', () => {
    given(claimedBy('email_1'))
      .when((state) => decideClaim(state, identity, 'email_1'))
      .changesNothing()
  })

  it('makes the tokens of all other attempts worthless', () => {
    given(claimedBy('email_1'))
      .when((state) => decideClaim(state, identity, 'email_2'))
      .refuses('TOKEN_INVALID', {reason: 'invalid'})
  })
})
