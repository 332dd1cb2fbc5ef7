import {z} from 'zod'
import {type Decision, type EventOf, eventType, refusal} from './event.ts'
import {text} from './text.ts'
import {type Actor, UserId} from './user.ts'

export const PostId = z.string().brand('PostId')
export type PostId = z.infer<typeof PostId>

export const Title = text({max: 200})
export const PostBody = text({max: 40_000, blank: true})

export const PostCreated = eventType('PostCreated', {
  data: z.object({
    postId: PostId,
    authorId: UserId,
    authorName: z.string(),
    title: z.string(),
    body: z.string(),
    attachments: z.array(z.string()),
  }),
  personal: {authorId: ['authorName', 'title', 'body', 'attachments']},
  plain: ['postId', 'authorId'],
})

export type PostEvent = EventOf<typeof PostCreated>
export type Post = {kind: 'none'} | ({kind: 'post'} & EventOf<typeof PostCreated>['data'])
export type PostContent = {title: string; body: string; attachments: string[]}

export const noPost: Post = {kind: 'none'}

export const evolvePost = (_post: Post, event: PostEvent): Post => ({kind: 'post', ...event.data})

/** A post that is there already under this id is a repeat: the same content is no news, other content is refused. */
export const decideCreatePost = (post: Post, postId: PostId, by: Actor, content: PostContent): Decision<PostEvent> => {
  if (post.kind === 'none') {
    const {title, body, attachments} = content
    const data = {postId, authorId: by.userId, authorName: by.username, title, body, attachments}
    return [{type: 'PostCreated', data}]
  }
  const same =
    post.title === content.title &&
    post.body === content.body &&
    post.attachments.length === content.attachments.length &&
    post.attachments.every((url, index) => url === content.attachments[index])
  return same ? [] : refusal({refused: 'IDEMPOTENCY_KEY_REUSED'})
}
