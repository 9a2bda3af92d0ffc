from django.db import models


class Document(models.Model):
    """Something with text and a file, to be created, changed, uploaded and deleted."""

    title = models.CharField(max_length=100)
    body = models.TextField(blank=True)
    file = models.FileField(upload_to="documents", blank=True)

    def __str__(self):
        return self.title
