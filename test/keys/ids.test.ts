import {describe, expect, it} from 'vitest'
import {newMessageId, newPostId} from '../../src/keys/ids.ts'

describe('newPostId', () => {
  it('is never the same twice, however many are drawn, nor that of a message', () => {
    const ids = Array.from({length: 2_000}, () => [newPostId(), newMessageId()]).flat()
    expect(new Set(ids.map((id) => id.slice(2))).size).toBe(ids.length)
    for (const id of ids) expect(id).toMatch(/^[um]-[a-z2-7]{26}$/)
  })
})
