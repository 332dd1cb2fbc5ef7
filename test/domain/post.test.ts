import {describe, it} from 'vitest'
import {decideCreatePost, type PostContent, type PostEvent, type PostId} from '../../src/domain/post.ts'
import {postFold} from '../../src/streams/streams.ts'
import {person, specify} from '../support/specification.ts'

const given = specify(postFold)
const postId = 'u-1' as PostId
const ann = person('Ann')
const content: PostContent = {title: 'Hello', body: 'all', attachments: ['https://a.example/1', 'https://a.example/2']}
const created: PostEvent = {
  type: 'PostCreated',
  data: {postId, authorId: ann.userId, authorName: 'Ann', ...content},
}

describe('decideCreatePost', () => {
  it('writes down who wrote what, under the name of that time', () => {
    given()
      .when((post) => decideCreatePost(post, postId, ann, content))
      .happens(created)
  })

  it('takes nothing into the event that is not content', () => {
    given()
      .when((post) => decideCreatePost(post, postId, ann, {...content, authorId: 'email_eve'} as PostContent))
      .happens(created)
  })

  it('takes the same content under the same id for a repeat, also after the author changed their name', () => {
    given(created)
      .when((post) => decideCreatePost(post, postId, ann, structuredClone(content)))
      .changesNothing()
    given(created)
      .when((post) => decideCreatePost(post, postId, {...ann, username: 'Anna'}, content))
      .changesNothing()
  })

  it.each([
    ['title', {title: 'Hallo'}],
    ['body', {body: ''}],
    ['attachments, more', {attachments: [...content.attachments, 'https://a.example/3']}],
    ['attachments, fewer', {attachments: ['https://a.example/1']}],
    ['attachments, in another order', {attachments: ['https://a.example/2', 'https://a.example/1']}],
  ])('refuses other content under the same id: another %s', (_, other) => {
    given(created)
      .when((post) => decideCreatePost(post, postId, ann, {...content, ...other}))
      .refuses('IDEMPOTENCY_KEY_REUSED')
  })
})
